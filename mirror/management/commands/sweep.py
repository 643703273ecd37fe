"""`manage.py sweep`: deletes staged leftovers and blobs that nothing refers to."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from rich.filesize import decimal

from mirror.blobs.store import StoreError
from mirror.store import blob_store
from mirror.sweep import GRACE, Swept, sweep_store
from registry.management.base import HoldfastCommand


class Command(HoldfastCommand):
    help = (
        "Delete what nobody needs: bytes staged by jobs that never came back, and blobs that no file, artifact or "
        "manifest names. Only what is older than the grace period; blobs only while no job moves bytes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=int, default=GRACE.days, help="the grace period (default %(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
        parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            swept = sweep_store(
                blob_store(), grace=timedelta(days=options["days"]), dry_run=options["dry_run"]
            )
        except StoreError as error:
            raise CommandError(f"the sweep was broken off: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(asdict(swept), indent=1, default=str))
        else:
            self.stdout.write(_closing_line(swept, options["dry_run"]))


def _closing_line(swept: Swept, dry_run: bool) -> str:
    verb = "would delete" if dry_run else "deleted"
    line = f"{verb} {len(swept.staged)} staged leftovers and {len(swept.blobs)} blobs, {decimal(swept.size_bytes)}"
    if swept.n_uploads:
        line += f", and forgot {swept.n_uploads} uploads that no commit named"
    if swept.manifests:
        line += f", and {len(swept.manifests)} manifests that deleted or moved repos left"
    if swept.kept_by_manifest:
        line += f"; kept {len(swept.kept_by_manifest)} blobs that only a manifest names"
    if swept.waits_for_jobs:
        line += "; other blobs wait until no job moves bytes"
    return line
