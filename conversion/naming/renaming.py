"""Tensor names by the gguf package's own map, and what to say of a tensor that it does not know."""

from collections.abc import Callable

import gguf

from conversion.naming.base import NamingError

Rename = Callable[[str], str]

MAX_LAYERS = 512
"""llama.cpp's own limit (LLAMA_MAX_LAYERS). The map of names grows with every layer that a config claims to have."""

MAX_PARTS = 65536
"""Heads or experts of a layer that are read one by one: far beyond any model, and quickly listed."""

BUFFERS = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq", ".position_ids")
"""Buffers that old checkpoints carry; ggml computes them itself."""


def renamer(architecture: gguf.MODEL_ARCH, n_layers: int) -> Rename:
    """A function from a checkpoint's tensor name to GGUF's; it raises NamingError `unknown-tensor`.

    Raises NamingError `bad-config` itself for more than MAX_LAYERS.
    """
    check_layers(n_layers)
    names = gguf.get_tensor_name_map(architecture, n_layers)

    def rename(name: str) -> str:
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if renamed is None:
            raise NamingError(
                "unknown-tensor",
                f"tensor {name[:200]!r} has no place in a {gguf.MODEL_ARCH_NAMES[architecture]} of {n_layers} layers. "
                "Either config.json or the checkpoint is not what it says.",
            )
        return renamed

    return rename


def check_layers(n_layers: int) -> None:
    """NamingError `bad-config` for more than MAX_LAYERS."""
    if n_layers > MAX_LAYERS:
        raise NamingError(
            "bad-config", f"config.json speaks of {n_layers} layers; llama.cpp runs at most {MAX_LAYERS}."
        )


def layer_of(name: str) -> int | None:
    """The first part of the name that is a number: the layer it belongs to, if any."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


def check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """NamingError `bad-shape` unless the tensor has the shape that config.json says it has."""
    if shape != expected:
        raise NamingError(
            "bad-shape",
            f"tensor {name[:200]!r} has shape {shape}, but by config.json it should be {expected}.",
        )


def check_parts(what: str, count: int) -> None:
    """NamingError `bad-config` for more heads or experts than MAX_PARTS."""
    if count > MAX_PARTS:
        raise NamingError("bad-config", f"there seem to be {count} {what}; at most {MAX_PARTS} are read.")
