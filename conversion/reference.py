"""The exact parent of what is judged, as far as it is needed: its weights by ranges, what it said before, or a file.

Where the store is a directory nothing is copied: blobs are linked. The parent runs by its reference implementation
when torch is installed; otherwise as our own conversion of the same commit that loses nothing, which llama.cpp runs.
Either way the verdict is against the parent, and the report says which of the two it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.lora_folder import CONFIG, WEIGHTS
from conversion.formats.weights import Weights
from conversion.inference.installed import has_transformers
from conversion.inference.judge import Reference
from conversion.inference.limits import HOLDS
from conversion.inference.local import TOKENIZERS
from conversion.inference.memory import available_memory
from conversion.inference.parents import ParentTensors, planned_tensors, stored_tensors
from conversion.joining import find_partner, merged_with
from conversion.naming import NamingError
from conversion.naming.file_types import FILE_TYPES, FileType
from conversion.naming.plan import SIDE_FILES, Wish
from conversion.naming.planning import plan_from
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
from conversion.recipes import CONVERTER, Partner
from conversion.source import open_source
from conversion.workplace import OnBytes, place_blob
from mirror.blobs import BlobStore
from registry.models import Commit

MAX_F32_BYTES = 32 * 2**30
"""A larger parent is written in its own 16-bit type instead: lossless too, at half the disk."""


class ReferenceUnavailable(Exception):
    """The parent cannot be run; `code` is that of whatever refused it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Parent:
    """An opened parent: headers are read, its small files lie in `home`, nothing runs yet.

    A GGUF in floating point runs as it is; one that is quantised as the numbers it stands for, in F32: for a quantised
    file llama.cpp rounds activations as well, and the artifact would be blamed for its parent's noise. Only safetensors
    go to transformers, which would unpickle anything else. With an `adapter` the weights are those it is merged into.
    """

    store: BlobStore
    commit: Commit
    home: Path
    weights: Weights
    paths: tuple[str, ...] = ()
    adapter: Partner | None = None

    @cached_property
    def dtypes(self) -> frozenset[str]:
        return frozenset(entry.dtype for entry in self.weights.entries.values() if len(entry.shape) > 1)

    @property
    def _f32_bytes(self) -> int:
        return 4 * sum(entry.n_elements for entry in self.weights.entries.values())

    @property
    def runs_as_it_is(self) -> bool:
        return isinstance(self.weights, GgufWeights) and self.dtypes <= HOLDS.keys()

    @cached_property
    def engine(self) -> str:
        """transformers holds a checkpoint whole, in float32; what does not fit is streamed by llama.cpp."""
        is_possible = isinstance(self.weights, Checkpoint) and _wants_transformers()
        return "transformers" if is_possible and self._f32_bytes <= _memory() else "llama.cpp"

    @property
    def way(self) -> str:
        """How it runs, in the words of a report."""
        if isinstance(self.weights, GgufWeights) and self.runs_as_it_is:
            return f"{self.weights.paths[0]} of the same commit, in llama.cpp"
        if self.engine == "transformers":
            return "the checkpoint itself, in transformers"
        merged = f" with {self.adapter.repo_id} merged in" if self.adapter else ""
        return f"our {self.lossless_type.name} GGUF of the same commit{merged}, in llama.cpp"

    @property
    def lossless_type(self) -> FileType:
        """F32 holds whatever a parent stores, and llama.cpp rounds no activations for it."""
        if len(self.dtypes) == 1 and self._f32_bytes > MAX_F32_BYTES:
            return FILE_TYPES.get(next(iter(self.dtypes)), FILE_TYPES["BF16"])
        return FILE_TYPES["F32"]

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of each file that what it says depends on; where we convert it, how. One query."""
        files = self.commit.files.filter(path__in=[*self.paths, *SIDE_FILES]).select_related("blob")
        found = {file.path: file.held.sha256 for file in files}
        if not self.paths:  # a container that does not say which files it was read from
            found["commit"] = self.commit.commit_hash
        if self.adapter is not None:
            found["adapter"] = f"{self.adapter.repo_id}@{self.adapter.commit_hash}"
        return found if self.runs_as_it_is else found | {"way": f"{self.way}, {CONVERTER}"}

    @property
    def known_dtypes(self) -> frozenset[str]:
        """The types whose every value a lossless file must hold."""
        return self.dtypes if self.dtypes <= HOLDS.keys() else frozenset({self.lossless_type.name})

    @property
    def tokenizer(self) -> Path | None:
        """Its own tokenizer file, where the engine would answer with one that we converted."""
        if self.runs_as_it_is or self.engine == "transformers":
            return None
        return next((self.home / name for name in TOKENIZERS if (self.home / name).exists()), None)

    @property
    def facts(self) -> dict[str, str]:
        repo_id, commit_hash = self.commit.repo.repo_id, self.commit.commit_hash
        return {"repo_id": repo_id, "commit_hash": commit_hash, "reference": self.way}

    def unbuilt(self) -> Reference:
        """The reference for when a reading speaks in its place, or nothing gets so far: its path cannot be run."""
        return Reference(self.engine, self.home, self.known_dtypes, self.facts, self.tokenizer)

    def tensors(self, *, of_gguf: bool) -> ParentTensors | None:
        """Its weights under the names of what is judged; None where they have no such names."""
        try:
            return planned_tensors(self.weights, self.home) if of_gguf else stored_tensors(self.weights)
        except (HeaderError, NamingError, QuantError):
            return None

    def build(self, on_bytes: OnBytes) -> Reference:
        """The same, ready to run. Raises ReferenceUnavailable when it is no checkpoint that we convert."""
        with refusals_of(self.commit):
            if self.runs_as_it_is or self.engine == "transformers":
                self._place_weights(on_bytes)
                path = self.home / self.paths[0] if self.runs_as_it_is else self.home
            else:
                path = self.write_lossless(on_bytes)
        return Reference(self.engine, path, self.known_dtypes, self.facts, self.tokenizer)

    def _place_weights(self, on_bytes: OnBytes) -> None:
        """llama.cpp finds the other shards beside the first."""
        index = Q(path__endswith=".safetensors.index.json") & ~Q(path__contains="/")
        files = self.commit.files.filter(Q(path__in=list(self.paths)) | index)
        for file in files.select_related("blob"):
            place_blob(self.store, file.held, self.home / file.path, on_bytes)

    def write_lossless(self, on_bytes: OnBytes) -> Path:
        """Everything it holds as a GGUF that llama.cpp runs. Raises what `plan_from` does."""
        plan, plain = plan_from(self.weights, self.home, Wish(self.lossless_type), allow_requantize=True)
        path = self.home.parent / "parent.gguf"
        with path.open("wb") as target:
            for piece in file_pieces(plan, plain):
                target.write(piece.data)
                on_bytes(len(piece.data))
        return path


def open_parent(
    store: BlobStore, commit: Commit, folder: Path, source_path: str = "", adapter: Partner | None = None
) -> Parent:
    """The parent of that commit, its small files below `folder`. Raises ReferenceUnavailable."""
    home = folder / commit.repo.name
    home.mkdir()
    with refusals_of(commit):
        stored = open_source(store, commit, home, source_path)
        paths = tuple(getattr(stored, "paths", ()))
        weights = merged_with(store, commit, stored, home, adapter) if adapter else stored
        return Parent(store, commit, home, weights, paths, adapter)


def adapter_reference(
    store: BlobStore, commit: Commit, base: Partner, folder: Path, on_bytes: OnBytes
) -> Reference:
    """What a GGUF adapter is judged against: the adapter it was made of, and that one's base as a GGUF.

    Raises ReferenceUnavailable.
    """
    home = folder / "adapter"
    home.mkdir()
    for file in commit.files.filter(path__in=(CONFIG, *WEIGHTS)).select_related("blob"):
        place_blob(store, file.held, home / file.path, on_bytes)
    with refusals_of(commit):
        parent = open_parent(store, find_partner(base), folder)
        path = parent.write_lossless(on_bytes)
    facts = {"repo_id": commit.repo.repo_id, "commit_hash": commit.commit_hash,
             "reference": f"the adapter itself, with {base.repo_id} in llama.cpp"}  # fmt: skip
    return Reference("llama.cpp", home, frozenset(), facts, base=path)


@contextmanager
def refusals_of(commit: Commit) -> Iterator[None]:
    """What a checkpoint is refused with becomes ReferenceUnavailable, with the repo's name."""
    try:
        yield
    except (HeaderError, NamingError, QuantError) as error:
        raise ReferenceUnavailable(error.code, f"{commit.repo.repo_id}: {error}") from error


def _memory() -> int:
    return settings.HOLDFAST_ENGINE_MEMORY_BYTES or available_memory()


def _wants_transformers() -> bool:
    return settings.HOLDFAST_REFERENCE_ENGINE != "llama.cpp" and has_transformers()
