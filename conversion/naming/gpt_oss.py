"""GPT-OSS: GptOssForCausalLM, with experts in MXFP4 as published, or in plain numbers.

An expert's `gate_up_proj` has gate and up row by row in turn; ggml has one tensor of each. The MXFP4 blocks are moved,
never computed with: 32 codes of 4 bits and one scale byte stay what they are, only their places differ.

| | a block of 32 values |
|---|---|
| checkpoint | 16 bytes in `_blocks`, byte i = value 2i (low nibble) and 2i + 1 (high); 1 byte in `_scales` |
| ggml | the scale byte, then 16 bytes, byte i = value i (low nibble) and i + 16 (high) |

Plain experts have inputs as rows, so they are transposed. (llama.cpp: conversion/gpt_oss.py)
"""

from functools import partial

import gguf
import numpy as np
import numpy.typing as npt

from conversion.naming.base import (
    Config,
    Family,
    NamingError,
    Packed,
    Rows,
    Shapes,
    Target,
    Weights,
    read_count,
)
from conversion.naming.hyperparameters import describe_hyperparameters
from conversion.naming.reading import Read, Run, rows_at_once, transposed
from conversion.naming.renaming import Rename, check_parts, renamer

BLOCK_BYTES, CODES_PER_BLOCK = 16, 32
MXFP4, MXFP4_FILE = "mxfp4", 38
EXPERTS = ".mlp.experts."
HALVES = (("gate_proj", 0), ("up_proj", 1))


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Experts that are packed already come first, as the reference writes them; then the rest in its order."""
    rename = renamer(gguf.MODEL_ARCH.GPT_OSS, read_count(config, "num_hidden_layers"))
    packed = [
        target for name in shapes if name.endswith("_scales") for target in _packed(rename, name, shapes)
    ]
    plain = [name for name in shapes if not name.endswith(("_scales", "_blocks"))]
    return packed + [target for name in plain for target in _plain(rename, name, shapes[name])]


def _packed(rename: Rename, name: str, shapes: Shapes) -> list[Target]:
    """The one or two targets of a pair of `_blocks` and `_scales`."""
    stem = name.removesuffix("_scales")
    blocks, scales = shapes.get(f"{stem}_blocks", ()), shapes[name]
    if len(scales) != 3 or blocks != (*scales, BLOCK_BYTES):
        raise NamingError(
            "bad-shape", f"tensor {stem[:200]!r} has blocks of shape {blocks} and scales of shape {scales}."
        )
    n_experts, n_rows, n_blocks = scales
    if "gate_up_proj" not in stem:
        return [_moved(rename(f"{stem}.weight"), stem, scales, step=1, offset=0)]
    _check_even(name, n_rows)
    halved = (n_experts, n_rows // 2, n_blocks)
    return [
        _moved(rename(stem.replace("gate_up_proj", f"{half}.weight")), stem, halved, step=2, offset=offset)
        for half, offset in HALVES
    ]


def _moved(renamed: str, stem: str, scales: tuple[int, int, int], *, step: int, offset: int) -> Target:
    n_experts, n_rows, n_blocks = scales
    read = partial(_read_blocks, stem=stem, n_blocks=n_blocks, step=step, offset=offset)
    return Target(
        renamed,
        (n_experts, n_rows, n_blocks * CODES_PER_BLOCK),
        f"{stem}_blocks",
        packed=Packed("MXFP4", read),
    )


def _read_blocks(
    weights: Weights, first: int, count: int, *, stem: str, n_blocks: int, step: int, offset: int
) -> bytes:
    """Rows `offset + step * first`, … of the checkpoint's blocks as ggml's, bit for bit."""
    start, n_read = offset + step * first, (count - 1) * step + 1
    scales = np.frombuffer(weights.read_rows(f"{stem}_scales", start, n_read), dtype=np.uint8)
    codes = np.frombuffer(
        weights.read_rows(f"{stem}_blocks", start * n_blocks, n_read * n_blocks), dtype=np.uint8
    )
    out = np.empty((count, n_blocks, 1 + BLOCK_BYTES), dtype=np.uint8)
    out[..., 0] = scales.reshape(n_read, n_blocks)[::step]
    out[..., 1:] = interleaved_to_halves(codes.reshape(n_read, n_blocks, BLOCK_BYTES)[::step])
    return out.tobytes()


def interleaved_to_halves(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 (…, 16) with neighbours sharing a byte to uint8 (…, 16) with value i and i + 16 sharing byte i."""
    values = np.stack([codes & 0x0F, codes >> 4], axis=-1).reshape(*codes.shape[:-1], CODES_PER_BLOCK)
    halves: npt.NDArray[np.uint8] = values[..., :BLOCK_BYTES] | (values[..., BLOCK_BYTES:] << 4)
    return halves


def _plain(rename: Rename, name: str, shape: tuple[int, ...]) -> list[Target]:
    """The targets of a tensor of numbers."""
    if "sinks" in name:
        return [Target(rename(f"{name}.weight"), shape, name)]
    if EXPERTS not in name:
        return [Target(rename(name), shape, name)]
    if name.endswith("gate_up_proj_bias"):
        _check_even(name, shape[-1] if shape else 0)
        halved = (*shape[:-1], shape[-1] // 2)
        return [
            Target(
                rename(name.replace("gate_up_proj_bias", f"{half}.bias")), halved, name,
                read=partial(_read_every_other, name=name, offset=offset),
            )
            for half, offset in HALVES
        ]  # fmt: skip
    if name.endswith("down_proj_bias"):
        return [Target(rename(name.replace("down_proj_bias", "down_proj.bias")), shape, name)]
    return _plain_experts(rename, name, shape)


def _plain_experts(rename: Rename, name: str, shape: tuple[int, ...]) -> list[Target]:
    if len(shape) != 3:
        raise NamingError("bad-shape", f"tensor {name[:200]!r} of shape {shape} is not a stack of experts.")
    n_experts, inputs, outputs = shape
    check_parts("experts", n_experts)
    blocks = [Run(name, expert * inputs, inputs) for expert in range(n_experts)]
    if not name.endswith("gate_up_proj"):
        read = transposed(blocks, outputs)
        return [_transposed(rename(f"{name}.weight"), (n_experts, outputs, inputs), name, read)]
    _check_even(name, outputs)
    return [
        _transposed(
            rename(name.replace("gate_up_proj", f"{half}.weight")), (n_experts, outputs // 2, inputs), name,
            transposed(blocks, outputs // 2, step=2, offset=offset),
        )
        for half, offset in HALVES
    ]  # fmt: skip


def _transposed(renamed: str, shape: tuple[int, int, int], name: str, read: Read) -> Target:
    return Target(renamed, shape, name, rows_together=rows_at_once(*shape[1:]), read=read)


def _read_every_other(weights: Weights, first: int, count: int, *, name: str, offset: int) -> Rows:
    return np.ascontiguousarray(weights.rows(name, first, count)[:, offset::2])


def _check_even(name: str, n_rows: int) -> None:
    if n_rows % 2 or not n_rows:
        raise NamingError(
            "bad-shape", f"tensor {name[:200]!r} has {n_rows} rows, which are not gate and up in turn."
        )


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys that most families have, the window, and the width of an expert."""
    scheme = config.get("quantization_config")
    is_packed = isinstance(scheme, dict) and scheme.get("quant_method") == MXFP4
    is_plain_type = file_type in (0, 1, 32)  # F32, F16, BF16: what is not an expert
    describe_hyperparameters(config, MXFP4_FILE if is_packed and is_plain_type else file_type, writer)
    writer.add_sliding_window(read_count(config, "sliding_window", 128))
    writer.add_expert_feed_forward_length(read_count(config, "intermediate_size"))


GPT_OSS = Family("gpt-oss", ("GptOssForCausalLM",), targets, describe, unpacks=(MXFP4,))
