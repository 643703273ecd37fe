"""What is healthy: the sample family in every type of its table, its parent's reading, and files built anew."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from conversion.formats.gguf.splitting import copied, plan_split
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.gguf.writer import Value, plan_file
from conversion.formats.layout import stream_file
from conversion.formats.llama2c import open_llama2c
from conversion.formats.opening import open_weights
from conversion.formats.source import BytesSource, FileSource
from conversion.inference.judge import Reference, judge
from conversion.inference.limits import Yardstick
from conversion.inference.parents import planned_tensors, stored_tensors
from conversion.inference.readings import Reading, make_reading
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import plan_gguf
from conversion.naming.slabs import file_pieces
from tests.conversion.inference.ggufs import BASE, SAMPLES, convert

STORIES = Path(__file__).resolve().parents[3] / "fixtures/llama2c"
SIDE_FILES = ("config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json")
Metadata = Mapping[str, Value]


class Family:
    """Healthy files under `folder`, each made when it is first asked for. A context manager: it keeps files open."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._stack = folder, ExitStack()
        self._yardsticks: dict[str, Yardstick] = {}

    def __enter__(self) -> "Family":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def gguf(self, type_name: str, sample: str = BASE.name) -> Path:
        path = self.folder / f"{sample}-{type_name}.gguf"
        return path if path.exists() else convert(SAMPLES / sample, type_name, path)

    def stories(self, type_name: str) -> Path:
        """stories260K as a GGUF, with its tokenizer beside it."""
        path = self.folder / f"stories260K-{type_name}.gguf"
        if not path.exists():
            sources = {
                name: BytesSource((STORIES / name).read_bytes()) for name in ("stories260K.bin", "tok512.bin")
            }
            weights = open_llama2c(sources)
            for name, data in weights.side_files.items():
                (self.folder / name).write_bytes(data)
            plan = plan_gguf(weights.entries, self.folder, FILE_TYPES[type_name])
            path.write_bytes(b"".join(piece.data for piece in file_pieces(plan, weights)))
        return path

    def reference(self, sample: str = BASE.name) -> Reference:
        """The parent as it speaks of GGUF files: a reading, its tensors, its tokenizer; it need not run."""
        return self._reference(self.gguf("F32", sample), SAMPLES / sample / "tokenizer.model", sample)

    @cached_property
    def base(self) -> Reference:
        return self.reference()

    def yardstick(self, type_name: str) -> Yardstick:
        """How far our own sound file of that type is from the base."""
        if type_name not in self._yardsticks:
            figures = judge(self.gguf(type_name), self.base).figures
            self._yardsticks[type_name] = Yardstick(type_name, "planted", figures)
        return self._yardsticks[type_name]

    @cached_property
    def base_as_stored(self) -> Reference:
        """The same parent for a checkpoint in safetensors."""
        weights = open_weights({"model.safetensors": self._open(BASE / "model.safetensors")})
        return Reference("llama.cpp", self.gguf("F32"), frozenset({"F32"}), {}, BASE / "tokenizer.model",
                         self.base.reading, tensors=stored_tensors(weights))  # fmt: skip

    def _reference(self, path: Path, tokenizer: Path, sample: str) -> Reference:
        dtypes = frozenset({"BF16" if sample.endswith("bf16") else "F32"})
        runs = Reference("llama.cpp", path, dtypes, {"reference": path.name}, tokenizer)
        folder = SAMPLES / sample
        weights = open_weights({"model.safetensors": self._open(folder / "model.safetensors")})
        tensors = planned_tensors(weights, folder)
        return Reference(
            runs.engine, runs.path, dtypes, runs.facts, tokenizer, self._reading(runs), tensors=tensors
        )

    def _reading(self, runs: Reference) -> Reading:
        kept = runs.path.with_suffix(".reading")
        if not kept.exists():
            kept.write_bytes(make_reading(runs, {"model": runs.path.name}).to_bytes())
        return Reading.from_bytes(kept.read_bytes())

    def _open(self, path: Path) -> FileSource:
        return self._stack.enter_context(FileSource(path))


def rebuilt(
    original: Path,
    path: Path,
    metadata: Callable[[Metadata], Metadata] = lambda found: found,
    data: Callable[[str, bytes], bytes] = lambda name, found: found,
    rename: Callable[[str], str] = lambda name: name,
) -> Path:
    """A sound GGUF with the same tensors in the same types, but other metadata, bytes or names of tensors."""
    with FileSource(original) as source:
        weights = open_gguf({original.name: source})
        tensors = [(rename(entry.name), entry.shape, entry.dtype) for entry in weights.entries.values()]
        layout = plan_file(metadata(weights.read_metadata()), tensors, alignment=weights.alignment)
        found = (
            (rename(name), [data(name, weights.read_bytes(name, 0, entry.length))])
            for name, entry in weights.entries.items()
        )
        path.write_bytes(b"".join(stream_file(layout, found)))
    return path


def split(original: Path, folder: Path, n_tensors: int) -> list[Path]:
    """The same model in shards of that many tensors."""
    folder.mkdir(exist_ok=True)
    with FileSource(original) as source:
        weights = open_gguf({original.name: source})
        tensors = [(entry.name, entry.shape, entry.dtype) for entry in weights.entries.values()]
        layout = plan_split(weights.read_metadata(), tensors, original.stem, max_tensors=n_tensors)
        for name, part in layout.parts.items():
            (folder / name).write_bytes(b"".join(copied(weights, part)))
    return sorted(folder.glob("*.gguf"))
