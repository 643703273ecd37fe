"""Weights on this machine, opened: which files they are, the folder of what lies beside them, and a name."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import GgufWeights, open_gguf, shard_names
from conversion.formats.source import FileSource
from conversion.formats.weights import Weights

MAX_FILES = 20_000


@dataclass(frozen=True)
class LocalSource:
    """`folder` holds the small files beside the weights; `name` is what made files are called after."""

    weights: Weights
    folder: Path
    name: str

    @property
    def is_gguf(self) -> bool:
        return isinstance(self.weights, GgufWeights)


@contextmanager
def opened(path: Path, adapter: str = "") -> Iterator[LocalSource]:
    """The weights in a folder or file, with an adapter merged in; its files stay open for as long.

    HeaderError `ck-…`, `lora-…` and what readers raise.
    """
    if not path.exists():
        raise HeaderError("ck-missing", f"{path} is not there")
    with ExitStack() as at_end:
        if path.is_dir():
            files = _files(path)
        elif path.suffix == ".gguf":
            files = [
                path.with_name(name) for name in shard_names(path.name) if path.with_name(name).is_file()
            ]
        else:
            files = [path, *_tokenizer_beside(path)]
        sources = {file.name: at_end.enter_context(FileSource(file)) for file in files}
        if all(file.suffix == ".gguf" for file in files):
            weights: Weights = open_gguf(sources)
        else:
            from conversion.formats.opening import open_weights

            weights = open_weights(sources)
        folder = path if path.is_dir() else path.parent
        name = _name(path)
        if adapter:
            from conversion.command.adapters import merged

            weights = merged(weights, folder, Path(adapter), at_end)
            name = f"{name}-{Path(adapter).resolve().name}"
        yield LocalSource(weights, folder, name)


def _tokenizer_beside(path: Path) -> list[Path]:
    """The tokenizer that llama2.c keeps beside its checkpoint, if this is one."""
    from conversion.formats.llama2c import HEADER_BYTES, is_llama2c

    if path.suffix != ".bin":
        return []
    with FileSource(path) as source:
        head = source.read(0, min(HEADER_BYTES, source.size_bytes))
        is_one = is_llama2c(source, head)
    return sorted(path.parent.glob("tok*.bin")) if is_one else []


def _files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    if len(files) > MAX_FILES:
        raise HeaderError(
            "ck-ambiguous", f"{folder} holds {len(files)} files; that is no folder of one model"
        )
    return files


def _name(path: Path) -> str:
    """The folder's name, or the file's without what says its type: `tiny-BF16.gguf` is called `tiny`."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    if path.suffix != ".gguf":
        in_folder = path.name in {"model.safetensors", "pytorch_model.bin"} or "-of-" in path.name
        return path.parent.name if in_folder else path.stem
    from conversion.naming.file_types import FILE_TYPES

    stem = shard_names(path.name)[0].split("-00001-of-")[0].removesuffix(".gguf")
    head, _, last = stem.replace(".", "-").rpartition("-")
    return stem[: len(head)] if head and last.upper() in FILE_TYPES else stem
