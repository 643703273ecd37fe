"""`manage.py imatrix`: importance matrices of a commit, taken in from files or measured on a text."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import Progress

from conversion.formats.errors import HeaderError
from conversion.imatrices import NoImatrix, measure_imatrix, take_in_imatrix
from conversion.inference.engine import EngineError
from conversion.management.commands.convert import find_commit
from conversion.management.targets import find_artifacts
from mirror.blobs.store import StoreError
from mirror.store import blob_store
from registry.foreground import FAILED, USAGE
from registry.management.base import HoldfastCommand
from registry.models import Imatrix


class Command(HoldfastCommand):
    help = (
        "Importance matrices: take in llama.cpp's files (both forms), measure one by running an artifact over a text, "
        "or list those of a repo. `manage.py convert --imatrix` uses them. Exit status: 0 done, 1 it was refused or "
        "there is no such repo, 2 the command line is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="add | measure | list")
        adding = verbs.add_parser("add", help="take in a file that llama-imatrix or somebody else made")
        adding.add_argument("repo", metavar="REPO[@REV]", help="the checkpoint that it was measured on")
        adding.add_argument("file", type=Path, help="imatrix.dat or imatrix.gguf")
        measuring = verbs.add_parser("measure", help="run an artifact over a text and keep what matters")
        measuring.add_argument("artifact", help="number, or org/name:F16; best F16, BF16 or F32")
        measuring.add_argument(
            "text", type=Path, help="calibration text in UTF-8, not what models are judged by"
        )
        measuring.add_argument("--windows", type=int, help="read at most so many windows of 512 tokens")
        listing = verbs.add_parser("list", help="those of a commit, the newest first")
        listing.add_argument("repo", metavar="REPO[@REV]", help="org/name; without a revision it is main")
        for verb in (adding, measuring, listing):
            verb.add_argument("--json", action="store_true", help="one JSON value on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs = {"add": self._add, "measure": self._measure, "list": self._list}
        try:
            verbs[options["verb"]](options)
        except (HeaderError, NoImatrix, EngineError, StoreError) as error:
            raise CommandError(f"{error.code}: {error}", returncode=FAILED) from None
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error), returncode=USAGE) from None

    def _add(self, options: dict[str, Any]) -> None:
        self._show(take_in_imatrix(blob_store(), find_commit(options["repo"]), options["file"]), options)

    def _measure(self, options: dict[str, Any]) -> None:
        (artifact, *others) = find_artifacts(options["artifact"])
        if others:
            raise CommandError(
                f"{options['artifact']} is several artifacts; name one, e.g. org/name:F16", returncode=USAGE
            )
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"running {artifact.path} over {options['text'].name}", total=None)
            row = measure_imatrix(
                blob_store(), artifact, options["text"], threads=settings.HOLDFAST_ENGINE_THREADS,
                max_windows=options["windows"],
                on_window=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
        self._show(row, options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = list(Imatrix.objects.filter(commit=find_commit(options["repo"])).select_related("blob"))
        if options["json"]:
            self.stdout.write(json.dumps([_facts(row) for row in rows], indent=1, default=str))
            return
        for row in rows:
            self.stdout.write(_sentence(row))
        if not rows:
            self.stdout.write(f"{options['repo']} has no importance matrix. Add or measure one.")

    def _show(self, row: Imatrix, options: dict[str, Any]) -> None:
        as_json = json.dumps(_facts(row), indent=1, default=str)
        self.stdout.write(as_json if options["json"] else _sentence(row))


def _facts(row: Imatrix) -> dict[str, Any]:
    return {
        "sha256": row.blob.sha256, "name": row.name, "dataset": row.dataset, "n_chunks": row.n_chunks,
        "n_entries": row.n_entries, "made_here": row.made_here, "created_at": row.created_at,
    }  # fmt: skip


def _sentence(row: Imatrix) -> str:
    where = f", {row.dataset}" if row.dataset else ""
    return f"{row.blob.sha256[:12]}  {row.name}: {row.n_entries} weights, {row.n_chunks} windows{where}"
