"""An artifact and its exact parent as files that engines can open: on the disk of this worker, for one validation.

Where the store is a directory nothing is copied: blobs are linked. The parent runs by its reference implementation
when torch is installed; otherwise as our own conversion of the same commit that loses nothing, which llama.cpp runs.
Either way the verdict is against the parent, and the report says which of the two it was.
"""

from importlib.util import find_spec
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.weights import Weights
from conversion.inference.judge import Reference
from conversion.inference.limits import HOLDS
from conversion.naming import NamingError
from conversion.naming.file_types import FILE_TYPES, FileType
from conversion.naming.plan import Wish
from conversion.naming.planning import plan_from
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
from conversion.source import open_source
from conversion.workplace import OnBytes, place_blob
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


def build_reference(
    store: BlobStore, commit: Commit, folder: Path, on_bytes: OnBytes, source_path: str = ""
) -> Reference:
    """The parent, ready to run. Raises ReferenceUnavailable when its files cannot be a checkpoint that we convert.

    A GGUF in floating point runs as it is; one that is quantised as the numbers it stands for, in F32: for a quantised
    file llama.cpp rounds activations as well, and the artifact would be blamed for its parent's noise. Only safetensors
    go to transformers, which would unpickle anything else.
    """
    home = folder / commit.repo.name
    home.mkdir()
    try:
        weights = open_source(store, commit, home, source_path)
        if isinstance(weights, GgufWeights) and _dtypes(weights) <= HOLDS.keys():
            _place_weights(store, commit, weights, home, on_bytes)
            return _as_it_is(commit, weights, home)
        if isinstance(weights, Checkpoint) and _wants_transformers():
            _place_weights(store, commit, weights, home, on_bytes)
            return _by_transformers(commit, weights, home)
        return _by_llama_cpp(commit, weights, home, folder / "parent.gguf", on_bytes)
    except (HeaderError, NamingError, QuantError) as error:
        raise ReferenceUnavailable(error.code, f"{commit.repo.repo_id}: {error}") from error


def _wants_transformers() -> bool:
    chosen = settings.HOLDFAST_REFERENCE_ENGINE != "llama.cpp"
    return chosen and all(find_spec(name) for name in TRANSFORMERS_NEEDS)


def _place_weights(
    store: BlobStore, commit: Commit, weights: Checkpoint | GgufWeights, home: Path, on_bytes: OnBytes
) -> None:
    index = Q(path__endswith=".safetensors.index.json") & ~Q(path__contains="/")
    for file in commit.files.filter(Q(path__in=list(weights.paths)) | index).select_related("blob"):
        place_blob(store, file.blob, home / file.path, on_bytes)


def _as_it_is(commit: Commit, weights: GgufWeights, home: Path) -> Reference:
    """llama.cpp finds the other shards beside the first."""
    facts = _facts(commit, f"{weights.paths[0]} of the same commit, in llama.cpp")
    return Reference("llama.cpp", home / weights.paths[0], _dtypes(weights), facts)


def _by_transformers(commit: Commit, checkpoint: Checkpoint, home: Path) -> Reference:
    facts = _facts(commit, "the checkpoint itself, in transformers")
    return Reference("transformers", home, _dtypes(checkpoint), facts)


def _by_llama_cpp(commit: Commit, weights: Weights, home: Path, path: Path, on_bytes: OnBytes) -> Reference:
    kind = _lossless_type(weights)
    plan, plain = plan_from(weights, home, Wish(kind), allow_requantize=True)
    with path.open("wb") as target:
        for piece in file_pieces(plan, plain):
            target.write(piece.data)
            on_bytes(len(piece.data))
    own = next((home / name for name in TOKENIZERS if (home / name).exists()), None)
    facts = _facts(commit, f"our {kind.name} GGUF of the same commit, in llama.cpp")
    known = dtypes if (dtypes := _dtypes(weights)) <= HOLDS.keys() else frozenset({kind.name})
    return Reference("llama.cpp", path, known, facts, own)


def _lossless_type(weights: Weights) -> FileType:
    """F32 holds whatever a parent stores, and llama.cpp rounds no activations for it."""
    dtypes = _dtypes(weights)
    n_parameters = sum(entry.n_elements for entry in weights.entries.values())
    if len(dtypes) == 1 and n_parameters * 4 > MAX_F32_BYTES:
        return FILE_TYPES.get(next(iter(dtypes)), FILE_TYPES["BF16"])
    return FILE_TYPES["F32"]


def _dtypes(weights: Weights) -> frozenset[str]:
    return frozenset(entry.dtype for entry in weights.entries.values() if len(entry.shape) > 1)


def _facts(commit: Commit, reference: str) -> dict[str, str]:
    return {"repo_id": commit.repo.repo_id, "commit_hash": commit.commit_hash, "reference": reference}
