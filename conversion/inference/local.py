"""The parent of a file on this machine, as a Reference: what the command line compares with, without a database.

A GGUF in floating point runs as it is. A checkpoint runs in transformers where torch is installed, and else as our own
F32 GGUF of it in llama.cpp, written to a scratch folder. So does a quantised GGUF: llama.cpp rounds activations for a
quantised file, and the artifact would be blamed for its parent's noise.
"""

import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import GgufWeights
from conversion.inference.checks.trial import OnProgress, Reference
from conversion.inference.engine import EngineReport
from conversion.inference.installed import has_transformers
from conversion.inference.limits import HOLDS
from conversion.inference.memory import available_memory
from conversion.inference.own_gguf import write_dequantised, write_gguf
from conversion.inference.parents import tensors_at
from conversion.inference.readings import Reading, make_reading, reading_key
from conversion.inference.strings import read_strings
from conversion.inference.subjects import GGUF, Look, look_at, subject_of

TOKENIZERS = ("tokenizer.model", "tokenizer.json")
OUR_GGUF = "our F32 GGUF of it, in llama.cpp"


class WrongReading(Exception):
    """The file given as a reading is one of something else, or none; nothing was judged."""


@dataclass(frozen=True)
class LocalParent:
    """A parent on the disk of this machine. Files that it needs live until `stack` ends.

    `memory_bytes` is what engines may take, 0 for most of what is free.
    """

    path: Path
    look: Look
    stack: ExitStack
    base: Path | None = None
    memory_bytes: int = 0

    @property
    def kind(self) -> str:
        return subject_of(self.look).kind

    @cached_property
    def dtypes(self) -> frozenset[str]:
        entries = self.look.weights.entries.values()
        return frozenset(entry.dtype for entry in entries if len(entry.shape) > 1)

    @cached_property
    def way(self) -> str:
        """How it runs; `OUR_GGUF` where a file has to be written first."""
        if self.kind != "decoder":
            return "as it is"
        if self.look.container == GGUF:
            return "in llama.cpp" if self._is_plain else OUR_GGUF
        is_possible = has_transformers() and self._fits_in_float32
        return "in transformers" if is_possible else OUR_GGUF

    @property
    def _is_plain(self) -> bool:
        return self.dtypes <= HOLDS.keys()

    @property
    def _fits_in_float32(self) -> bool:
        """As transformers holds it; a larger one is streamed by llama.cpp."""
        n_values = sum(entry.n_elements for entry in self.look.weights.entries.values())
        return 4 * n_values <= (self.memory_bytes or available_memory())

    @property
    def engine(self) -> str:
        if self.kind == "decoder":
            return "transformers" if self.way == "in transformers" else "llama.cpp"
        return {GGUF: "llama.cpp", "safetensors": "transformers"}.get(self.look.container, "")

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of its files by name, with the way it runs."""
        files = (
            sorted(file for file in self.path.iterdir() if file.is_file())
            if self.path.is_dir()
            else [self.path]
        )
        return {file.name: _digest(file) for file in files} | {"way": self.way}

    def reference(self, *, of_gguf: bool, runs: bool = True) -> Reference:
        """The parent, ready to run unless a reading will speak for it."""
        facts = {"reference": f"{self.path}, {self.way}"}
        known = self.dtypes if self._is_plain else frozenset({"F32"} if self.way == OUR_GGUF else ())
        own = next((self.path / name for name in TOKENIZERS if (self.path / name).is_file()), None)
        path = self.written() if runs and self.way == OUR_GGUF else self.path
        tensors = tensors_at(self.path, self.stack, of_gguf=of_gguf)
        return Reference(
            self.engine,
            path,
            known,
            facts,
            own if self.engine == "llama.cpp" else None,
            tensors=tensors,
            base=self.base,
        )

    def written(self) -> Path:
        """Our F32 GGUF of the parent, until the stack ends."""
        scratch = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-parent-")))
        if isinstance(self.look.weights, GgufWeights):
            return write_dequantised(self.look.weights, scratch / "parent.gguf")
        return write_gguf(self.path, scratch / "parent.gguf")


def open_local(
    path: Path, stack: ExitStack, base: Path | None = None, *, memory_bytes: int = 0
) -> LocalParent:
    """Raises HeaderError and NamingError for a parent whose headers or config cannot be read."""
    return LocalParent(path, look_at(path, stack), stack, base, memory_bytes)


def with_reading(
    parent: LocalParent, file: Path, on_progress: OnProgress, *, of_gguf: bool, threads: int = 1
) -> Reference:
    """The reference with the reading in `file`; it is made and written there if there is none yet.

    Raises WrongReading for a file that holds anything else, EngineError, and OSError where it cannot be written; then
    nothing is left behind.
    """
    if file.exists():
        return replace(parent.reference(of_gguf=of_gguf, runs=False), reading=_read(file, parent))
    reference = parent.reference(of_gguf=of_gguf)
    reading = make_reading(
        reference, parent.digests, threads=threads, memory_bytes=parent.memory_bytes,
        strings=read_strings(), on_progress=on_progress,
    )  # fmt: skip
    part = file.with_name(file.name + ".part")
    try:
        part.write_bytes(reading.to_bytes())
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return replace(reference, reading=reading)


def _read(file: Path, parent: LocalParent) -> Reading:
    """The reading, if it is of this parent by the engine that is installed; no engine is started to know that."""
    try:
        reading = Reading.from_bytes(file.read_bytes())
    except HeaderError as error:
        raise WrongReading(f"{file} is not a reading: {error}. Remove it to have it made anew.") from error
    if reading.key != reading_key(parent.digests, reading.engine) or not _is_installed(reading.engine):
        raise WrongReading(
            f"{file} is the reading of another parent, engine or set of texts. Remove it to have it made anew, or "
            "name another file."
        )
    return reading


def _is_installed(engine: EngineReport) -> bool:
    try:
        return version(engine.package) == engine.version
    except PackageNotFoundError:
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
