"""An artifact and its exact parent as files that engines can open: on the disk of this worker, for one validation.

Where the store is a directory nothing is copied: blobs are linked. The parent runs by its reference implementation
when torch is installed; otherwise as our own conversion of the same commit that loses nothing, which llama.cpp runs.
Either way the verdict is against the parent, and the report says which of the two it was.
"""

from importlib.util import find_spec
from pathlib import Path

from django.db.models import Q

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.errors import HeaderError
from conversion.inference.judge import Reference
from conversion.naming import NamingError
from conversion.naming.file_types import FILE_TYPES, FileType
from conversion.naming.plan import plan_gguf
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
from conversion.source import OnBytes, open_source, place_blob
from mirror.blobs import BlobStore
from registry.models import Artifact, Commit

# The last reads the GGUF of the engine's self-test.
TRANSFORMERS_NEEDS = ("torch", "transformers", "accelerate")
MAX_F32_BYTES = 32 * 2**30
"""A larger parent is written in its own 16-bit type instead: lossless too, at half the disk."""

TOKENIZERS = ("tokenizer.model", "tokenizer.json")


class ReferenceUnavailable(Exception):
    """The parent cannot be run; `code` is that of whatever refused it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def place_artifact(store: BlobStore, artifact: Artifact, folder: Path, on_bytes: OnBytes) -> Path:
    """The artifact's bytes as a file that an engine can map."""
    path = folder / "artifact.gguf"
    place_blob(store, artifact.blob, path, on_bytes)
    return path


def build_reference(store: BlobStore, commit: Commit, folder: Path, on_bytes: OnBytes) -> Reference:
    """The parent, ready to run. Raises ReferenceUnavailable when its files cannot be a checkpoint that we convert."""
    home = folder / commit.repo.name
    home.mkdir()
    try:
        checkpoint = open_source(store, commit, home)
        if all(find_spec(name) for name in TRANSFORMERS_NEEDS):
            _place_weights(store, commit, checkpoint, home, on_bytes)
            return _by_transformers(commit, checkpoint, home)
        return _by_llama_cpp(commit, checkpoint, home, folder / "parent.gguf", on_bytes)
    except (HeaderError, NamingError, QuantError) as error:
        raise ReferenceUnavailable(error.code, f"{commit.repo.repo_id}: {error}") from error


def _place_weights(
    store: BlobStore, commit: Commit, checkpoint: Checkpoint, home: Path, on_bytes: OnBytes
) -> None:
    index = Q(path__endswith=".safetensors.index.json") & ~Q(path__contains="/")
    for file in commit.files.filter(Q(path__in=list(checkpoint.paths)) | index).select_related("blob"):
        place_blob(store, file.blob, home / file.path, on_bytes)


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
