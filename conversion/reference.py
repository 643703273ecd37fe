"""An artifact and its exact parent as files that engines can open: on the disk of this worker, for one validation.

Where the store is a directory nothing is copied: blobs are linked. The parent runs by its reference implementation
when torch is installed; otherwise as our own conversion of the same commit that loses nothing, which llama.cpp runs.
Either way the verdict is against the parent, and the report says which of the two it was.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from django.conf import settings

from conversion.formats.checkpoint import Checkpoint, open_checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.source import ByteSource, RangeSource
from conversion.inference.judge import Reference
from conversion.naming import NamingError
from conversion.naming.file_types import FILE_TYPES, FileType
from conversion.naming.plan import SIDE_FILES, plan_gguf
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Artifact, Blob, Commit, File

TRANSFORMERS_NEEDS = (
    "torch",
    "transformers",
    "accelerate",
)  # the last reads the GGUF of the engine's self-test
COPY_BYTES = 8 * 2**20
MAX_F32_BYTES = 32 * 2**30
"""A larger parent is written in its own 16-bit type instead: lossless too, at half the disk."""

MAX_SIDE_FILE_BYTES = 256 * 2**20
"""A tokenizer or config beside the weights; more is not a small file."""

TOKENIZERS = ("tokenizer.model", "tokenizer.json")

OnBytes = Callable[[int], None]
"""Called with the number of bytes just written; may raise to give up."""


class ReferenceUnavailable(Exception):
    """The parent cannot be run; `code` is that of whatever refused it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """An empty folder of that name under the data folder; gone afterwards.

    What an earlier attempt left when it was killed is removed first: whoever holds the job's lease owns the folder.
    """
    folder = Path(settings.DATA) / "work" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place_artifact(store: BlobStore, artifact: Artifact, folder: Path, on_bytes: OnBytes) -> Path:
    """The artifact's bytes as a file that an engine can map."""
    path = folder / "artifact.gguf"
    place_blob(store, artifact.blob, path, on_bytes)
    return path


def place_blob(store: BlobStore, blob: Blob, path: Path, on_bytes: OnBytes = lambda n: None) -> None:
    """The bytes of the blob are at `path`: linked where the store lies on the same file system, copied elsewhere."""
    held = store.local_path(blob_key(blob.sha256))
    if held is not None:
        try:
            os.link(held, path)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    with (
        store.open(blob_key(blob.sha256)) as source,
        path.open("xb") as target,
    ):  # never through a link into the store
        while data := source.read(COPY_BYTES):
            target.write(data)
            on_bytes(len(data))


def build_reference(store: BlobStore, commit: Commit, folder: Path, on_bytes: OnBytes) -> Reference:
    """The parent, ready to run. Raises ReferenceUnavailable when its files cannot be a checkpoint that we convert."""
    home = folder / PurePosixPath(commit.repo.repo_id).name
    home.mkdir()
    files = {file.path: file for file in commit.files.select_related("blob")}
    _place_side_files(store, files, home)
    try:
        checkpoint = open_checkpoint(_weight_sources(store, files))
        if all(find_spec(name) for name in TRANSFORMERS_NEEDS):
            _place_weights(store, files, checkpoint, home, on_bytes)
            return _by_transformers(commit, checkpoint, home)
        return _by_llama_cpp(commit, checkpoint, home, folder / "parent.gguf", on_bytes)
    except (HeaderError, NamingError, QuantError) as error:
        raise ReferenceUnavailable(error.code, f"{commit.repo.repo_id}: {error}") from error


def _place_side_files(store: BlobStore, files: Mapping[str, File], home: Path) -> None:
    for name in SIDE_FILES:
        if (file := files.get(name)) and file.size_bytes <= MAX_SIDE_FILE_BYTES:
            place_blob(store, file.blob, home / name)


def _weight_sources(store: BlobStore, files: Mapping[str, File]) -> dict[str, ByteSource]:
    return {
        path: RangeSource(file.size_bytes, partial(store.read, blob_key(file.blob.sha256)))
        for path, file in files.items()
        if "/" not in path and path.endswith((".safetensors", ".safetensors.index.json"))
    }


def _place_weights(
    store: BlobStore, files: Mapping[str, File], checkpoint: Checkpoint, home: Path, on_bytes: OnBytes
) -> None:
    indexes = [path for path in files if "/" not in path and path.endswith(".safetensors.index.json")]
    for path in (*checkpoint.paths, *indexes):
        place_blob(store, files[path].blob, home / path, on_bytes)


def _by_transformers(commit: Commit, checkpoint: Checkpoint, home: Path) -> Reference:
    facts = _facts(commit, "the checkpoint itself, in transformers")
    return Reference("transformers", home, _dtypes(checkpoint), facts)


def _by_llama_cpp(
    commit: Commit, checkpoint: Checkpoint, home: Path, path: Path, on_bytes: OnBytes
) -> Reference:
    kind = _lossless_type(checkpoint)
    plan = plan_gguf(checkpoint.entries, home, kind)
    with path.open("wb") as target:
        for piece in file_pieces(plan, checkpoint):
            target.write(piece.data)
            on_bytes(len(piece.data))
    own = next((home / name for name in TOKENIZERS if (home / name).exists()), None)
    facts = _facts(commit, f"our {kind.name} GGUF of the same commit, in llama.cpp")
    return Reference("llama.cpp", path, _dtypes(checkpoint), facts, own)


def _lossless_type(checkpoint: Checkpoint) -> FileType:
    """F32 holds whatever a parent stores, and llama.cpp rounds no activations for it."""
    dtypes = _dtypes(checkpoint)
    if len(dtypes) == 1 and checkpoint.n_parameters * 4 > MAX_F32_BYTES:
        return FILE_TYPES[next(iter(dtypes))]
    return FILE_TYPES["F32"]


def _dtypes(checkpoint: Checkpoint) -> frozenset[str]:
    return frozenset(entry.dtype for entry in checkpoint.entries.values() if len(entry.shape) > 1)


def _facts(commit: Commit, reference: str) -> dict[str, str]:
    return {"repo_id": commit.repo.repo_id, "commit_hash": commit.commit_hash, "reference": reference}
