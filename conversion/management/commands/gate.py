"""`manage.py gate`: which verdicts the files of some repos need to be published, and to be pulled by default."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from rich import box
from rich.console import Console
from rich.table import Table

from registry.foreground import FAILED, USAGE
from registry.gates import DEFAULT, BadGate, read_gates, save_gate
from registry.management.base import HoldfastCommand
from registry.models import Gate


class Command(HoldfastCommand):
    help = (
        "Say which verdicts are enough: for what is made here to be published, and for a file to be pulled without "
        "being asked for by name. The pattern is that of the repo that holds the file, e.g. acme/* or *-GGUF; of "
        "several that match, the most exact decides. Without any, `verified` is published and all but `damaged` is "
        "pulled. Damaged bytes pass by `manage.py override` only. Exit status: 0 done, 1 there is no such gate, 2 the "
        "command line is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="set | list | remove")
        setting = verbs.add_parser("set", help="make a gate, or change the one of that pattern")
        setting.add_argument("repos", help="repo ids, with * and ?, e.g. acme/* or *-GGUF")
        setting.add_argument(
            "--publish", type=_verdicts, metavar="VERDICTS", help="e.g. verified,loads; '' for none"
        )
        setting.add_argument("--pull", type=_verdicts, metavar="VERDICTS", help="e.g. verified; '' for none")
        listing = verbs.add_parser("list", help="every gate, the one that decides first on top")
        removing = verbs.add_parser("remove", help="the next gate that matches decides from now on")
        removing.add_argument("repos", help="the pattern as `list` shows it")
        for verb in (setting, listing, removing):
            verb.add_argument("--json", action="store_true", help="one JSON value on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs = {"set": self._set, "list": self._list, "remove": self._remove}
        verbs[options["verb"]](options)

    def _set(self, options: dict[str, Any]) -> None:
        if options["publish"] is None and options["pull"] is None:
            raise CommandError("say --publish, --pull, or both", returncode=USAGE)
        try:
            gate = save_gate(options["repos"], publish=options["publish"], pull=options["pull"])
        except BadGate as error:
            raise CommandError(f"{error.code}: {error}", returncode=USAGE) from None
        self._say(options, gate.as_json(), f"{gate.repos}: {_sentence(gate)}")

    def _list(self, options: dict[str, Any]) -> None:
        gates = [*read_gates().rows, DEFAULT]
        if options["json"]:
            self.stdout.write(json.dumps([gate.as_json() for gate in gates], indent=1))
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("repos", "published", "pulled by default"):
            table.add_column(title)
        for gate in gates:
            name = "(all others)" if gate is DEFAULT else gate.repos
            table.add_row(name, gate.publish or "nothing", gate.pull or "nothing")
        Console().print(table)

    def _remove(self, options: dict[str, Any]) -> None:
        n_removed, _ = Gate.objects.filter(repos__iexact=options["repos"]).delete()
        if not n_removed:
            raise CommandError(
                f"there is no gate {options['repos']!r}; `gate list` shows them", returncode=FAILED
            )
        self._say(options, {"removed": options["repos"]}, f"gate {options['repos']} is gone")

    def _say(self, options: dict[str, Any], value: object, sentence: str) -> None:
        self.stdout.write(json.dumps(value, indent=1) if options["json"] else sentence)


def _verdicts(text: str) -> list[str]:
    return [name for name in (part.strip().lower() for part in text.split(",")) if name]


def _sentence(gate: Gate) -> str:
    return f"published is {gate.publish or 'nothing'}; pulled by default is {gate.pull or 'nothing'}"
