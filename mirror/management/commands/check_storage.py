"""`manage.py check_storage`: what the blob store can and cannot do."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mirror.blobs import store_from_url
from mirror.blobs.probe import Finding, probe
from mirror.blobs.store import StoreError
from registry.management.base import HoldfastCommand


class Command(HoldfastCommand):
    help = (
        "Try everything that Holdfast needs from a blob store, on scratch objects that are removed afterwards. "
        "Exit status 1 if something is missing without which it must not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="another store than HOLDFAST_BLOBS, as it would be written there")
        parser.add_argument("--json", action="store_true", help="a JSON list on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            store = store_from_url(options["url"] or settings.HOLDFAST_BLOBS)
            findings = list(_with_progress(probe(store)))
        except StoreError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            listed = [asdict(finding) | {"is_fatal": finding.is_fatal} for finding in findings]
            self.stdout.write(json.dumps(listed, indent=1))
        else:
            _print_table(findings)
            self.stdout.write(f"{store!r}: {_verdict(findings)}")
        if any(finding.is_fatal for finding in findings):
            sys.exit(1)


def _with_progress(findings: Iterable[Finding]) -> Iterable[Finding]:
    with Console(stderr=True).status("probing the store") as status:
        for finding in findings:
            status.update(Text(f"probing the store: {finding.name}"))
            yield finding


def _verdict(findings: list[Finding]) -> str:
    n_ok = sum(finding.is_ok for finding in findings)
    n_fatal = sum(finding.is_fatal for finding in findings)
    counted = f"{n_ok} of {len(findings)} checks passed"
    if n_fatal:
        return f"{counted}; it cannot be used, {n_fatal} needed {'thing is' if n_fatal == 1 else 'things are'} missing"
    return f"{counted}; it can be used" + ("" if n_ok == len(findings) else ", with the limits above")


def _print_table(findings: list[Finding]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("", "check", "what happened"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        # Text, not markup: details quote what the store said.
        table.add_row(Text(_mark(finding)), Text(finding.name), Text(_story(finding)))
    Console().print(table)


def _mark(finding: Finding) -> str:
    if finding.is_ok:
        return "ok"
    return "MISSING" if finding.is_needed else "limited"


def _story(finding: Finding) -> str:
    if finding.is_ok:
        return finding.detail
    return f"{finding.detail}\nSo: {finding.consequence}\nDo: {finding.remedy}"
