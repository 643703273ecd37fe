"""`manage.py convert`: makes artifacts of a mirrored commit, here and now, or hands that to the workers."""

import json
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from conversion.convert import MAX_TOGETHER, submit_conversion
from conversion.formats.errors import HeaderError
from conversion.imatrices import NoImatrix, find_imatrix
from conversion.joining import declared_base, is_adapter
from conversion.naming import NamingError, supported
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.overrides import Overrides, parse_tensor_types
from conversion.naming.plan import Plan
from conversion.naming.slabs import FilePlan
from conversion.naming.to_safetensors import SafetensorsPlan
from conversion.recipes import CHECKPOINT_NAMES, GGUF, Choice, Partner
from conversion.source import plan_conversions
from mirror.blobs.store import StoreError
from mirror.store import blob_store
from registry.foreground import FAILED, USAGE, refuse_unfinished, run_with_bar
from registry.incomplete import CommitIncomplete, refuse_incomplete
from registry.management.base import HoldfastCommand
from registry.models import Commit, Job, Repo
from registry.revisions import DEFAULT, RevisionNotFound, resolve_revision

EPILOG = f"""\
File types: {", ".join(FILE_TYPES)}.
Checkpoints: {", ".join(CHECKPOINT_NAMES)}: one file of safetensors, dequantised where it must be, and marked so.
Architectures: {", ".join(supported())}.

Several types are made in one pass over the weights. An artifact is recorded as unvalidated and its test inference
is queued; it is published in ORG/NAME-GGUF, a checkpoint in ORG/NAME-safetensors, once that has passed. Repeating the
command makes nothing twice. Artifacts are single files: GGUFs in several parts are made by `python -m conversion`.

Exit status: 0 made, or there already, or queued with --enqueue; 1 a job failed, or there is no such repo, revision or
importance matrix; 2 the command line is wrong; 130 interrupted: the work goes on when a worker runs or the command is
repeated.
"""


class Command(HoldfastCommand):
    help = "Convert mirrored weights: GGUFs with the bytes of llama.cpp's converter and llama-quantize, or safetensors."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("repo", metavar="REPO[@REV]", help="org/name; without a revision it is main")
        parser.add_argument(
            "--to",
            metavar="TYPES",
            default="Q8_0",
            help="file types and checkpoints, e.g. Q4_K_M,Q8_0,safetensors-bf16 (default: Q8_0)",
        )
        parser.add_argument(
            "--from", dest="source", metavar="FILE", default="", help="the GGUF of the repo to start from"
        )
        parser.add_argument(
            "--allow-requantize", action="store_true", help="even if its weights are quantised already"
        )
        parser.add_argument(
            "--imatrix", metavar="SHA256", help="importance matrix: its digest's beginning, or newest"
        )
        parser.add_argument(
            "--adapter", metavar="REPO[@REV]", help="merge this LoRA adapter into the weights first"
        )
        parser.add_argument(
            "--base",
            metavar="REPO[@REV]",
            help="where REPO is a LoRA adapter: its base, if not the one it declares; it becomes a GGUF adapter",
        )
        parser.add_argument(
            "--pre-tokenizer",
            metavar="NAME",
            default="",
            help="a BPE tokenizer's, where it is not recognised",
        )
        parser.add_argument(
            "--keep-names",
            action="store_true",
            help="a checkpoint made of a GGUF keeps the names that GGUF has",
        )
        _add_demands(parser)
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="show tensors, types and sizes; make nothing"
        )
        parser.add_argument(
            "--json", action="store_true", help="a JSON list on stdout, one object per job or plan"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        commit = find_commit(options["repo"])
        choices = _read_choices(commit, options)
        if options["dry_run"]:
            self._show_plans(commit, choices, as_json=options["json"])
            return
        job = submit_conversion(commit, *choices, send_nudge=options["enqueue"])
        if not options["enqueue"]:
            job = run_with_bar(job)
        if options["json"]:
            self.stdout.write(json.dumps([job.as_json()], indent=1, default=str))
        else:
            for line in _closing_lines(job, enqueued=options["enqueue"]):
                self.stdout.write(line)
        if not options["enqueue"]:
            refuse_unfinished(job)

    def _show_plans(self, commit: Commit, choices: list[Choice], *, as_json: bool) -> None:
        plans = _plan(commit, choices)
        if as_json:
            found = [_plan_json(commit, choice, plan) for choice, plan in zip(choices, plans, strict=True)]
            self.stdout.write(json.dumps(found, indent=1))
            return
        for choice, plan in zip(choices, plans, strict=True):
            path, size = choice.path(commit), plan.layout.size_bytes
            Console().print(_plan_table(path, plan))
            types = Counter(entry.dtype for entry in plan.layout.entries)
            counted = ", ".join(f"{number} {name}" for name, number in sorted(types.items()))
            self.stdout.write(f"{path}: {decimal(size)} ({size:,} bytes), {counted}; nothing was made")
            for said in plan.said if isinstance(plan, SafetensorsPlan) else ():
                self.stdout.write(said)
            if lacks := _lacks(plan):
                self.stdout.write(f"It needs an importance matrix with {lacks[0]}; give it with --imatrix.")


def _add_demands(parser: ArgumentParser) -> None:
    """What llama-quantize takes beside a file type."""
    parser.add_argument(
        "--token-embedding-type", metavar="TYPE", default="", help="type of the token embeddings"
    )
    parser.add_argument("--output-tensor-type", metavar="TYPE", default="", help="type of the output tensor")
    parser.add_argument(
        "--tensor-type",
        metavar="REGEX=TYPE",
        action="append",
        default=[],
        help="type of tensors so named; repeatable",
    )
    parser.add_argument("--pure", action="store_true", help="no mixture: one type for all tensors")
    parser.add_argument("--leave-output-tensor", action="store_true", help="do not quantise output.weight")


def _read_choices(commit: Commit, options: dict[str, Any]) -> list[Choice]:
    names = [name for name in (part.strip() for part in options["to"].split(",")) if name]
    if not 0 < len(names) <= MAX_TOGETHER:
        known = ", ".join((*FILE_TYPES, *CHECKPOINT_NAMES))
        raise CommandError(f"--to needs 1 to {MAX_TOGETHER} of {known}", returncode=USAGE)
    adapter = find_commit(options["adapter"]) if options["adapter"] else None
    base = find_commit(options["base"]) if options["base"] else is_adapter(commit) and declared_base(commit)
    try:
        overrides = Overrides(
            token_embedding=options["token_embedding_type"].upper(), output=options["output_tensor_type"].upper(),
            tensor_types=parse_tensor_types(options["tensor_type"]), pure=options["pure"],
            leave_output=options["leave_output_tensor"],
        )  # fmt: skip
        kinds = dict.fromkeys(Choice.of(name) for name in names)
        imatrix = find_imatrix(commit, options["imatrix"]).blob.sha256 if options["imatrix"] else ""
    except NamingError as error:
        raise CommandError(f"{error.code}: {error}", returncode=USAGE) from None
    except NoImatrix as error:
        raise CommandError(f"{error.code}: {error}", returncode=FAILED) from None
    asked = {
        "source_path": options["source"],
        "adapter": adapter and Partner.of(adapter),
        "base": Partner.of(base) if base else None,
    }
    of_gguf = {
        "overrides": overrides, "imatrix": imatrix, "requantises": options["allow_requantize"],
        "pre_tokenizer": options["pre_tokenizer"],
    }  # fmt: skip
    of_checkpoint = {"keeps_names": options["keep_names"]}
    return [replace(kind, **asked, **(of_gguf if kind.format == GGUF else of_checkpoint)) for kind in kinds]


def find_commit(text: str) -> Commit:
    repo_id, _, revision = text.partition("@")
    repo = Repo.objects.by_id(repo_id).filter(repo_type=Repo.Type.MODEL).first()
    if repo is None:
        raise CommandError(
            f"repo-not-found: {repo_id} is not here. Mirror it first: manage.py mirror hf://{repo_id}",
            returncode=FAILED,
        )
    try:
        commit = resolve_revision(repo, revision or DEFAULT)
        refuse_incomplete(commit)
        return commit
    except (CommitIncomplete, RevisionNotFound) as error:
        raise CommandError(f"{error.code}: {error}", returncode=FAILED) from None


def _closing_lines(job: Job, *, enqueued: bool) -> list[str]:
    if not job.is_finished:
        return [f"job {job.pk} is queued: {job.label}"] if enqueued else []
    artifacts = job.result.get("artifacts", [])
    said = dict.fromkeys(line for one in artifacts for line in one.get("said", []))
    return [*said, *map(_closing_line, artifacts)]


def _closing_line(one: dict[str, Any]) -> str:
    size = f"{decimal(one['size_bytes'])}, sha256 {one['sha256'][:12]}…"
    if one["already_there"]:
        return f"{one['path']} was there already: {size}"
    return f"made {one['path']}: {size}, in {one['seconds']:.1f} s; its test inference is queued"


def _lacks(plan: FilePlan) -> tuple[str, str] | None:
    return plan.lacks if isinstance(plan, Plan) else None


def _plan(commit: Commit, choices: list[Choice]) -> list[FilePlan]:
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-plan-") as folder:
            return plan_conversions(blob_store(), commit, choices, Path(folder), is_dry_run=True)[0]
    except (HeaderError, NamingError, NoImatrix, StoreError) as error:
        name = f"{commit.repo.repo_id}@{commit.commit_hash[:8]}"
        raise CommandError(f"{error.code}: {name}: {error}", returncode=FAILED) from None


def _plan_json(commit: Commit, choice: Choice, plan: FilePlan) -> dict[str, Any]:
    tensors = [
        {"name": entry.name, "type": entry.dtype, "shape": entry.shape, "size_bytes": entry.length,
         "source": target.origin}
        for target, entry in zip(plan.targets, plan.layout.entries, strict=True)
    ]  # fmt: skip
    return {
        "recipe": choice.name, "path": choice.path(commit), "size_bytes": plan.layout.size_bytes,
        "needs_imatrix": _lacks(plan) is not None, "tensors": tensors,
    }  # fmt: skip


def _plan_table(path: str, plan: FilePlan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=path)
    for title, justify in (("tensor", "left"), ("type", "left"), ("shape", "right"), ("bytes", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for entry in plan.layout.entries:
        shape = " x ".join(map(str, entry.shape))
        table.add_row(Text(entry.name), entry.dtype, shape, f"{entry.length:,}")
    return table
