"""A checkpoint as our own GGUF in a scratch folder, for engines that read nothing else.

F32 holds every value of an F32, F16 or BF16 checkpoint exactly, so that what is measured is the checkpoint.
"""

from contextlib import ExitStack
from pathlib import Path

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.lora import Adapter, MergedWeights
from conversion.formats.opening import open_weights
from conversion.formats.packed import unpack
from conversion.formats.source import ByteSource, FileSource
from conversion.formats.weights import Weights
from conversion.naming.file_types import file_type_by_name
from conversion.naming.plan import Wish, in_reference_order, plan_gguf, read_config
from conversion.naming.requantise import plan_requantised
from conversion.naming.slabs import file_pieces


def open_folder(folder: Path, stack: ExitStack) -> Weights:
    """The weights in a folder, packed ones unpacked; their files stay open until the stack ends. HeaderError."""
    sources: dict[str, ByteSource] = {
        path.name: stack.enter_context(FileSource(path))
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    return unpack(open_weights(sources), config)


def write_gguf(folder: Path, path: Path, adapter: Adapter | None = None, file_type: str = "F32") -> Path:
    """`path` is the checkpoint in `folder` as a GGUF, with the adapter merged in. A slab in memory at a time.

    Raises HeaderError, NamingError, QuantError; then there is nothing at `path`.
    """
    part = path.with_suffix(".part")
    with ExitStack() as stack:
        base = open_folder(folder, stack)
        weights: Weights = base if adapter is None else MergedWeights(base, adapter)
        entries = dict(weights.entries)
        if isinstance(base, Checkpoint):
            entries = {name: entries[name] for name in in_reference_order(base)}
        plan = plan_gguf(entries, folder, file_type_by_name(file_type), is_unpacked=True)
        stack.callback(part.unlink, missing_ok=True)
        with part.open("wb") as file:
            file.writelines(piece.data for piece in file_pieces(plan, weights))
        return part.rename(path)


def write_dequantised(weights: GgufWeights, path: Path) -> Path:
    """`path` is the GGUF with every value in F32. A slab in memory at a time. Raises NamingError, QuantError."""
    wish = Wish(file_type_by_name("F32"))
    plan = plan_requantised(weights.entries, weights.read_metadata(), wish, allow_requantize=True)
    with path.open("wb") as file:
        file.writelines(piece.data for piece in file_pieces(plan, weights))
    return path
