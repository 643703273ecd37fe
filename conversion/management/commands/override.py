"""`manage.py override`: an operator's decision on a file, whatever its verdict, with the reason."""

import getpass
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from conversion.management.targets import Target, find_targets
from registry.foreground import FAILED, USAGE
from registry.management.base import HoldfastCommand
from registry.models import Artifact, Override
from registry.models.validation import VERDICTS
from registry.overrides import BadOverride, grant_override, withdraw_override


class Command(HoldfastCommand):
    help = (
        "Let gates take a file for something else than what was measured: verified, when a limit is wrong for it, or "
        "damaged, to take it out of circulation. The reason and who decided are an event, and stand on the file's page "
        "and in the API beside the verdict. What was not published yet is judged again, and published if its gate lets "
        "it now. Exit status: 0 done, 1 nothing is overridden there, 2 the command line is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="grant | withdraw | list")
        granting = verbs.add_parser("grant", help="from now on gates take the file for this verdict")
        granting.add_argument("--verdict", required=True, choices=VERDICTS, help="what to take it for")
        withdrawing = verbs.add_parser("withdraw", help="what was measured decides again")
        for verb in (granting, withdrawing):
            verb.add_argument("target", help="one file, as for `manage.py validate`: 17, org/name:Q2_K, …")
            verb.add_argument("--reason", required=True, help="why; shown to everybody")
            verb.add_argument(
                "--by", default=getpass.getuser(), help="who decides (default: the user of this shell)"
            )
        listing = verbs.add_parser("list", help="the overrides in force")
        for verb in (granting, withdrawing, listing):
            verb.add_argument("--json", action="store_true", help="one JSON value on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs = {"grant": self._grant, "withdraw": self._withdraw, "list": self._list}
        try:
            verbs[options["verb"]](options)
        except BadOverride as error:
            raise CommandError(f"{error.code}: {error}", returncode=USAGE) from None

    def _grant(self, options: dict[str, Any]) -> None:
        target = _one(options["target"])
        override = grant_override(target.blob, options["verdict"], options["reason"], by=options["by"])
        job = None
        if target.artifact and target.artifact.state != Artifact.State.PUBLISHED:
            job = target.request(send_nudge=True)
        told = _facts(override) | {"path": target.path, "job": job.pk if job else None}
        queued = f"; job {job.pk} judges it again" if job else ""
        self._say(options, told, f"{target.path} is taken for {override.verdict}{queued}")

    def _withdraw(self, options: dict[str, Any]) -> None:
        target = _one(options["target"])
        if not withdraw_override(target.blob, options["reason"], by=options["by"]):
            raise CommandError(
                f"{target.path} is not overridden; `override list` shows what is", returncode=FAILED
            )
        self._say(options, {"withdrawn": target.path}, f"{target.path} is what its verdict says again")

    def _list(self, options: dict[str, Any]) -> None:
        rows = list(Override.objects.filter(withdrawn_at__isnull=True).select_related("blob"))
        if options["json"]:
            self.stdout.write(json.dumps([_facts(row) for row in rows], indent=1, default=str))
            return
        for row in rows:
            self.stdout.write(f"{row.blob.sha256[:12]}  {row.verdict:<11} {row.by}: {row.reason}")
        if not rows:
            self.stdout.write("No verdict is overridden.")

    def _say(self, options: dict[str, Any], value: object, sentence: str) -> None:
        self.stdout.write(json.dumps(value, indent=1, default=str) if options["json"] else sentence)


def _one(text: str) -> Target:
    targets = find_targets(text)
    if len(targets) != 1:
        names = ", ".join(target.path for target in targets[:6])
        raise CommandError(f"{text} is {len(targets)} files; name one of them: {names}", returncode=USAGE)
    return targets[0]


def _facts(row: Override) -> dict[str, Any]:
    return row.as_json() | {"sha256": row.blob.sha256}
