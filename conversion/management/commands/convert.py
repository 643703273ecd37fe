"""`manage.py convert`: makes GGUF artifacts of a mirrored checkpoint, here and now, or hands that to the workers."""

import json
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from conversion.convert import submit_conversion
from conversion.formats.errors import HeaderError
from conversion.naming import NamingError, supported
from conversion.naming.file_types import FILE_TYPES, FileType, file_type_by_name
from conversion.naming.plan import Plan
from conversion.recipes import artifact_path
from conversion.source import plan_conversion
from mirror.blobs.store import StoreError
from mirror.store import blob_store
from registry.foreground import FAILED, USAGE, refuse_unfinished, run_with_bar
from registry.models import Commit, Job, Repo
from registry.revisions import DEFAULT, RevisionNotFound, resolve_revision

EPILOG = f"""\
File types: {", ".join(FILE_TYPES)}. Architectures: {", ".join(supported())}.

An artifact is recorded as unvalidated and its test inference is queued; it is published in ORG/NAME-GGUF once that
has passed. Repeating the command makes nothing twice.

Exit status: 0 made, or there already, or queued with --enqueue; 1 a job failed, or there is no such repo or revision;
2 the command line is wrong; 130 interrupted: the work goes on when a worker runs or the command is repeated.
"""


class Command(BaseCommand):
    help = "Convert a mirrored checkpoint to GGUF: same bytes as llama.cpp's converter and llama-quantize."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("repo", metavar="REPO[@REV]", help="org/name; without a revision it is main")
        parser.add_argument(
            "--to", metavar="TYPES", default="Q8_0", help="file types, e.g. F16,Q8_0,Q4_0 (default: Q8_0)"
        )
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="show tensors, types and sizes; make nothing"
        )
        parser.add_argument(
            "--json", action="store_true", help="a JSON list on stdout, one object per file type"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file_types = _read_types(options["to"])
        commit = _find_commit(options["repo"])
        if options["dry_run"]:
            self._show_plans(commit, file_types, as_json=options["json"])
            return
        jobs = [submit_conversion(commit, kind, send_nudge=options["enqueue"]) for kind in file_types]
        if not options["enqueue"]:
            jobs = _work_on(jobs)
        if options["json"]:
            self.stdout.write(json.dumps([job.as_json() for job in jobs], indent=1, default=str))
        else:
            for job in jobs:
                if job.state == Job.State.SUCCEEDED or options["enqueue"]:
                    self.stdout.write(_closing_line(job))
        if not options["enqueue"]:
            for job in jobs:
                refuse_unfinished(job)

    def _show_plans(self, commit: Commit, file_types: list[FileType], *, as_json: bool) -> None:
        plans = [_plan(commit, kind) for kind in file_types]
        if as_json:
            self.stdout.write(json.dumps([_plan_json(commit, plan) for plan in plans], indent=1))
            return
        for plan in plans:
            Console().print(_plan_table(commit, plan))
            types = Counter(entry.dtype for entry in plan.layout.entries)
            counted = ", ".join(f"{number} {name}" for name, number in sorted(types.items()))
            path, size = artifact_path(commit, plan.file_type), plan.layout.size_bytes
            self.stdout.write(f"{path}: {decimal(size)} ({size:,} bytes), {counted}; nothing was made")


def _read_types(text: str) -> list[FileType]:
    names = [name for name in (part.strip() for part in text.split(",")) if name]
    if not names:
        raise CommandError(f"--to needs at least one of {', '.join(FILE_TYPES)}", returncode=USAGE)
    try:
        return [file_type_by_name(name) for name in dict.fromkeys(names)]
    except NamingError as error:
        raise CommandError(f"--to: {error}", returncode=USAGE) from None


def _find_commit(text: str) -> Commit:
    repo_id, _, revision = text.partition("@")
    repo = Repo.objects.by_id(repo_id).filter(repo_type=Repo.Type.MODEL).first()
    if repo is None:
        raise CommandError(
            f"repo-not-found: {repo_id} is not here. Mirror it first: manage.py mirror hf://{repo_id}",
            returncode=FAILED,
        )
    try:
        return resolve_revision(repo, revision or DEFAULT)
    except RevisionNotFound as error:
        raise CommandError(f"{error.code}: {error}", returncode=FAILED) from None


def _work_on(jobs: list[Job]) -> list[Job]:
    """Each job as it is after working on it here; those after an interrupted one stay queued."""
    done: list[Job] = []
    for job in jobs:
        interrupted = bool(done) and not done[-1].is_finished
        done.append(job if interrupted else run_with_bar(job))
    return done


def _closing_line(job: Job) -> str:
    if not job.is_finished:
        return f"job {job.pk} is queued: {job.label}"
    result = job.result
    size = f"{decimal(result['size_bytes'])}, sha256 {result['sha256'][:12]}…"
    if result["already_there"]:
        return f"{result['path']} was there already: {size}"
    return f"made {result['path']}: {size}, in {result['seconds']:.1f} s; its test inference is queued"


def _plan(commit: Commit, file_type: FileType) -> Plan:
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-plan-") as folder:
            return plan_conversion(blob_store(), commit, file_type, Path(folder))[0]
    except (HeaderError, NamingError, StoreError) as error:
        name = f"{commit.repo.repo_id}@{commit.commit_hash[:8]}"
        raise CommandError(f"{error.code}: {name}: {error}", returncode=FAILED) from None


def _plan_json(commit: Commit, plan: Plan) -> dict[str, Any]:
    tensors = [
        {"name": entry.name, "type": entry.dtype, "shape": entry.shape, "size_bytes": entry.length,
         "source": target.source}
        for target, entry in zip(plan.targets, plan.layout.entries, strict=True)
    ]  # fmt: skip
    path = artifact_path(commit, plan.file_type)
    return {
        "recipe": plan.file_type.name,
        "path": path,
        "size_bytes": plan.layout.size_bytes,
        "tensors": tensors,
    }


def _plan_table(commit: Commit, plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=artifact_path(commit, plan.file_type))
    for title, justify in (("tensor", "left"), ("type", "left"), ("shape", "right"), ("bytes", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for entry in plan.layout.entries:
        shape = " x ".join(map(str, entry.shape))
        table.add_row(Text(entry.name), entry.dtype, shape, f"{entry.length:,}")
    return table
