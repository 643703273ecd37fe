"""`manage.py policy`: which artifacts the checkpoints of some repos should have."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from rich import box
from rich.console import Console
from rich.table import Table

from conversion.convert import submit_wanted
from conversion.naming import NamingError
from conversion.policies import save_policy
from registry.foreground import FAILED, USAGE
from registry.management.base import HoldfastCommand
from registry.models import Commit, Policy, Repo


class Command(HoldfastCommand):
    help = (
        "Say which recipes a repo should have, e.g. every base model up to 9B: Q4_K_M, Q6_K, Q8_0. A policy is asked "
        "whenever a checkpoint was mirrored and inspected; `apply` asks for everything that is here already. "
        "Exit status: 0 done, 1 there is no such policy, 2 the command line is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="set | list | remove | apply")
        saving = verbs.add_parser("set", help="make a policy, or change the one of that name")
        saving.add_argument("name", help="what to call it, e.g. small-base-models")
        saving.add_argument("--to", required=True, metavar="TYPES", help="file types, e.g. Q4_K_M,Q6_K,Q8_0")
        saving.add_argument(
            "--repos", default="*", metavar="GLOB", help="repo ids, e.g. acme/* (default: all)"
        )
        saving.add_argument("--max-parameters", type=_count, metavar="N", help="e.g. 9B, 500M or 9000000000")
        saving.add_argument("--base-only", action="store_true", help="only models that declare no parent")
        listing = verbs.add_parser("list", help="every policy there is")
        removing = verbs.add_parser("remove", help="it wants nothing any more; what was made stays")
        removing.add_argument("name", help="as `list` shows it")
        applying = verbs.add_parser("apply", help="queue what the policies want of checkpoints that are here")
        for verb in (saving, listing, removing, applying):
            verb.add_argument("--json", action="store_true", help="one JSON value on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs = {"set": self._set, "list": self._list, "remove": self._remove, "apply": self._apply}
        verbs[options["verb"]](options)

    def _set(self, options: dict[str, Any]) -> None:
        names = [name for name in (part.strip() for part in options["to"].split(",")) if name]
        try:
            policy = save_policy(
                options["name"], names, repos=options["repos"], max_parameters=options["max_parameters"],
                base_only=options["base_only"],
            )  # fmt: skip
        except NamingError as error:
            raise CommandError(f"{error.code}: {error}", returncode=USAGE) from None
        self._say(
            options,
            policy.as_json(),
            f"policy {policy.name}: {', '.join(policy.recipes)} for {_whom(policy)}",
        )

    def _list(self, options: dict[str, Any]) -> None:
        policies = list(Policy.objects.all())
        if options["json"]:
            self.stdout.write(json.dumps([policy.as_json() for policy in policies], indent=1))
        elif not policies:
            self.stdout.write("There is no policy. Make one: manage.py policy set NAME --to Q4_K_M,Q8_0")
        else:
            Console().print(_table(policies))

    def _remove(self, options: dict[str, Any]) -> None:
        n_removed, _ = Policy.objects.filter(name=options["name"]).delete()
        if not n_removed:
            raise CommandError(
                f"there is no policy {options['name']!r}; `policy list` shows them", returncode=FAILED
            )
        self._say(
            options, {"removed": options["name"]}, f"policy {options['name']} is gone; its artifacts stay"
        )

    def _apply(self, options: dict[str, Any]) -> None:
        heads = Repo.objects.exclude(head=None).values_list("head", flat=True)
        jobs = []
        for commit in Commit.objects.filter(pk__in=heads).exclude(inspected_at=None).iterator():
            jobs += submit_wanted(commit)
        self._say(
            options,
            [job.as_json() for job in jobs],
            f"{len(jobs)} jobs are queued; `manage.py jobs` shows them",
        )

    def _say(self, options: dict[str, Any], value: object, sentence: str) -> None:
        self.stdout.write(json.dumps(value, indent=1, default=str) if options["json"] else sentence)


def _count(text: str) -> int:
    """9B -> 9,000,000,000; argparse turns a ValueError into its own words."""
    factor = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}.get(text[-1:].upper(), 1)
    return round(float(text.rstrip("kKmMbBtT")) * factor)


def _whom(policy: Policy) -> str:
    size = f" of at most {policy.max_parameters:,} parameters" if policy.max_parameters else ""
    return f"{'base models' if policy.base_only else 'checkpoints'} in {policy.repos}{size}"


def _table(policies: list[Policy]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("policy", "for", "recipes"):
        table.add_column(title)
    for policy in policies:
        table.add_row(policy.name, _whom(policy), ", ".join(policy.recipes))
    return table
