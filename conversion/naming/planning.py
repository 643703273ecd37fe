"""One door for plans: weights of any container, and a wish, become a planned GGUF and what fills it."""

from pathlib import Path

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.layout import TensorEntry
from conversion.formats.llama2c import Llama2cWeights
from conversion.formats.lora import MergedWeights
from conversion.formats.packed import UnpackedWeights, unpack
from conversion.formats.pytorch import TorchWeights
from conversion.formats.weights import Weights
from conversion.naming import family_for
from conversion.naming.base import Config
from conversion.naming.plan import Plan, Wish, in_reference_order, plan_gguf, read_config
from conversion.naming.requantise import plan_requantised


def plan_from(
    weights: Weights, folder: Path, wish: Wish, *, allow_requantize: bool = False
) -> tuple[Plan, Weights]:
    """The file planned to its last byte, and the weights to fill it with: unpacked ones where they were packed.

    `folder` holds the SIDE_FILES and gives the model its name; a llama2.c checkpoint's own are written there. Raises
    NamingError and HeaderError for whatever cannot be converted.
    """
    if isinstance(weights, GgufWeights):
        metadata = weights.read_metadata()
        return plan_requantised(weights.entries, metadata, wish, allow_requantize=allow_requantize), weights
    if isinstance(weights, Llama2cWeights):
        for name, data in weights.side_files.items():
            (folder / name).write_bytes(data)
    config = read_config(folder)
    is_plain = isinstance(weights, MergedWeights) or _is_read_as_stored(config)
    plain = weights if is_plain else unpack(weights, config)
    is_unpacked = isinstance(plain, UnpackedWeights | MergedWeights)
    return plan_gguf(_ordered(plain), folder, wish, is_unpacked=is_unpacked), plain


def _is_read_as_stored(config: Config) -> bool:
    said = config.get("quantization_config")
    return isinstance(said, dict) and said.get("quant_method") in family_for(config).unpacks


def _ordered(weights: Weights) -> dict[str, TensorEntry]:
    """As the reference converter meets them: safetensors by file and name, others in their own order.

    PyTorch's are a Checkpoint, too, but of dicts, which have an order of their own.
    """
    if isinstance(weights, MergedWeights):
        return {name: weights.entries[name] for name in _ordered(weights.base)}
    if isinstance(weights, UnpackedWeights) and isinstance(weights.weights, Checkpoint):
        path_of = weights.weights.path_of
        place = {name: path_of[weights.stored_as(name)] for name in weights.entries}
        return {
            name: weights.entries[name]
            for name in sorted(weights.entries, key=lambda name: (place[name], name))
        }
    if isinstance(weights, Checkpoint) and not isinstance(weights, TorchWeights):
        return in_reference_order(weights)
    return dict(weights.entries)
