"""A commit's weights as a converter reads them: by ranges from the store, with the small files in a folder."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from conversion.formats.opening import open_weights
from conversion.formats.source import RangeSource
from conversion.formats.weights import Weights
from conversion.imatrices import open_stored_imatrix
from conversion.joining import is_adapter, merged_with, plan_own_gguf
from conversion.naming import NamingError
from conversion.naming.checkpoints import CheckpointPlan, plan_checkpoint
from conversion.naming.joint import one_reading
from conversion.naming.plan import SIDE_FILES, Wish
from conversion.naming.planning import plan_from
from conversion.naming.slabs import FilePlan
from conversion.recipes import SAFETENSORS, Choice
from conversion.workplace import place_blob
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Commit, File

MAX_SIDE_FILE_BYTES = 256 * 2**20
"""A tokenizer or config beside the weights; more is not a small file."""

WHOLE = 2**63
"""Bytes of tensors in one file: no limit."""

WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth")
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


def open_source(store: BlobStore, commit: Commit, folder: Path, source_path: str = "") -> Weights:
    """The commit's weights, read by ranges from the store; its SIDE_FILES are in `folder`. One query.

    A commit with a checkpoint and GGUF files is its checkpoint, unless `source_path` names one of the GGUF files. The
    folder's name becomes the model's, so it should be the repo's. Raises HeaderError and NamingError.
    """
    files = {
        file.path: file
        for file in commit.files.select_related("blob")
        if "/" not in file.path or file.path in SIDE_FILES
    }
    for name in SIDE_FILES:
        if file := files.get(name):
            if file.size_bytes > MAX_SIDE_FILE_BYTES:
                raise NamingError(
                    "side-file-large",
                    f"{name} has {file.size_bytes} bytes; at most {MAX_SIDE_FILE_BYTES} are read.",
                )
            (folder / name).parent.mkdir(exist_ok=True)
            place_blob(store, file.held, folder / name)
    chosen = weight_files(files.values(), source_path)
    return open_weights({
        file.path: RangeSource(file.size_bytes, partial(store.read, blob_key(file.held.sha256))) for file in chosen
    })  # fmt: skip


def weight_files(files: Iterable[File], source_path: str = "") -> list[File]:
    """The files at the top of a commit that its weights are read from: a checkpoint, or one GGUF with all its shards.

    Raises NamingError `source-missing` for a path that is no GGUF here, `source-ambiguous` for several GGUF files.
    """
    at_top = sorted((file for file in files if "/" not in file.path), key=lambda file: file.path)
    models: dict[str, list[File]] = {}
    for file in at_top:
        if file.path.endswith(".gguf") and not file.path.startswith("mmproj"):
            models.setdefault(SHARD.sub("", file.path), []).append(file)
    if source_path:
        if (name := SHARD.sub("", source_path)) not in models:
            raise NamingError(
                "source-missing", f"there is no {source_path[:200]!r} at the top of the commit."
            )
        return models[name]
    others = [file for file in at_top if file.path.endswith(WEIGHTS)]
    if others or not models:
        return others or at_top  # so that the refusal can say what there is
    if len(models) > 1:
        raise NamingError(
            "source-ambiguous",
            f"the commit has {len(models)} GGUF models: {', '.join(sorted(models)[:8])}. Name one with --from.",
        )
    return next(iter(models.values()))


def plan_conversion(
    store: BlobStore, commit: Commit, choice: Choice, folder: Path
) -> tuple[FilePlan, Weights]:
    """The artifact planned to its last byte, and the weights that fill it; nothing is written but side files."""
    plans, weights = plan_conversions(store, commit, [choice], folder)
    return plans[0], weights


def plan_conversions(
    store: BlobStore, commit: Commit, choices: list[Choice], folder: Path, *, is_dry_run: bool = False
) -> tuple[list[FilePlan], Weights]:
    """Plans of artifacts that are made of the same weights, in the order of the choices.

    All have the same source in the commit, and the same adapter. Raises HeaderError, NamingError and NoImatrix.
    """
    home, stored = _opened(store, commit, choices[0], folder)
    plans: list[FilePlan] = []
    readings: list[Weights] = []
    for choice in choices:
        plan, weights = _planned(store, commit, stored, home, choice, is_dry_run=is_dry_run)
        plans.append(plan)
        readings.append(weights)
    return plans, one_reading(readings)


def plan_whole_checkpoint(store: BlobStore, commit: Commit, choice: Choice, folder: Path) -> CheckpointPlan:
    """The checkpoint that a recipe for safetensors makes, with the small files that belong beside it."""
    home, stored = _opened(store, commit, choice, folder)
    return _checkpoint(stored, home, choice)


def _opened(store: BlobStore, commit: Commit, choice: Choice, folder: Path) -> tuple[Path, Weights]:
    home = folder / commit.repo.name
    home.mkdir()
    stored = open_source(store, commit, home, choice.source_path)
    return home, merged_with(store, commit, stored, home, choice.adapter) if choice.adapter else stored


def _planned(
    store: BlobStore, commit: Commit, stored: Weights, home: Path, choice: Choice, *, is_dry_run: bool
) -> tuple[FilePlan, Weights]:
    if choice.base is not None or is_adapter(commit):
        return plan_own_gguf(store, commit, stored, home, choice), stored
    if choice.format == SAFETENSORS:
        checkpoint = _checkpoint(stored, home, choice)
        (plan,) = checkpoint.planned.files.values()
        return replace(plan, said=checkpoint.said), checkpoint.weights
    imatrix = open_stored_imatrix(store, choice.imatrix) if choice.imatrix else None
    wish = Wish(choice.file_type, choice.overrides, imatrix, is_dry_run, choice.pre_tokenizer)
    return plan_from(stored, home, wish, allow_requantize=choice.requantises)


def _checkpoint(stored: Weights, home: Path, choice: Choice) -> CheckpointPlan:
    """An artifact is one blob, so the checkpoint is one file, however large."""
    dtype = choice.file_type.name
    return plan_checkpoint(stored, home, dtype, keep_names=choice.keeps_names, max_shard_bytes=WHOLE)
