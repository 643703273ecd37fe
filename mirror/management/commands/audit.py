"""`manage.py audit`: are the bytes still what they were?"""

import json
import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from mirror.blobs.store import StoreError
from mirror.fixity import Finding, Report, audit
from mirror.fixity.report import OnProgress
from mirror.store import blob_store
from registry.management.base import HoldfastCommand


class Command(HoldfastCommand):
    help = (
        "Re-hash every blob, compare the catalog with the store both ways, check every manifest. Records what it "
        "finds and deletes nothing. Exit status 1 if bytes are lost or wrong; leftovers are listed but are no error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quick", action="store_true", help="compare names and sizes only, hash nothing")
        parser.add_argument(
            "--repair",
            action="store_true",
            help="fetch broken blobs again from upstream, rewrite lost manifests",
        )
        parser.add_argument(
            "--older-than", type=int, metavar="DAYS", help="hash only what was not verified for so many days"
        )
        parser.add_argument("--json", action="store_true", help="the report as JSON on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["older_than"]
        since = None if days is None else timezone.now() - timedelta(days=days)
        with _bar() as bar:
            try:
                report = audit(
                    blob_store(), quick=options["quick"], repair=options["repair"], unverified_since=since,
                    on_progress=_shown_in(bar),
                )  # fmt: skip
            except StoreError as error:
                raise CommandError(f"the audit was broken off: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=1))
        else:
            _print_findings(report.findings)
            self.stdout.write(_closing_line(report))
        if not report.is_clean:
            sys.exit(1)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip


def _shown_in(bar: Progress) -> OnProgress:
    tasks = {phase: bar.add_task(phase, total=None) for phase in ("blobs", "manifests")}
    return lambda phase, done, total: bar.update(tasks[phase], completed=done, total=total)


def _print_findings(findings: list[Finding]) -> None:
    console = Console(stderr=True, soft_wrap=True)
    for finding in findings:
        kind = "repaired" if finding.is_repaired else "ERROR" if finding.is_error else "note"
        console.print(
            Text(f"{kind} {finding.code}: {finding.key}: {finding.message} {finding.remedy}".rstrip())
        )


def _closing_line(report: Report) -> str:
    n_notes = len(report.findings) - len(report.errors)
    verdict = "all as it should be" if report.is_clean else f"{len(report.errors)} broken"
    return (
        f"{report.n_blobs} blobs ({report.n_hashed} hashed, {decimal(report.bytes_hashed)}), "
        f"{report.n_commits} commits: {verdict}, {n_notes} notes"
    )
