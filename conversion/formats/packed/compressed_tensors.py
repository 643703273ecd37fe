"""compressed-tensors (vLLM, llm-compressor): whole numbers or small floats, with scales beside them.

pack-quantized:
    X.weight_packed      int32 (n_out, n_in * bits / 32), lowest bits first
    X.weight_scale       float (n_out, n_groups)
    X.weight_shape       (2,): n_out, n_in
    X.weight_zero_point  int32 (n_out * bits / 32, n_groups), packed down the rows; absent when symmetric
float-quantized, int-quantized, naive-quantized:
    X.weight             F8_E4M3 or I8
    X.weight_scale       one for all, one a row, or one a block
nvfp4-pack-quantized:
    X.weight_packed      uint8 (n_out, n_in / 2), low four bits first
    X.weight_scale       F8_E4M3 (n_out, n_in / 16)
    X.weight_global_scale  float32 (1,): what the scales are divided by

Symmetric whole numbers are stored plus 2^(bits - 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.packed.base import (
    Found,
    Made,
    expect_shape,
    part,
    read_all,
    read_floats,
    whole_number,
)
from conversion.formats.packed.fp8 import ACTIVATION_SUFFIXES, FLOATS, block_of, scaled
from conversion.formats.packed.gptq import unpack_bits
from conversion.formats.packed.mxfp4 import FP4
from conversion.formats.weights import Rows, Weights

PLAIN_FORMATS = ("float-quantized", "int-quantized", "naive-quantized")
NVFP4_GROUP = 16


def find_compressed_tensors(weights: Weights, config: Mapping[str, Any]) -> Found:
    kind = config.get("format")
    if kind in PLAIN_FORMATS:
        return _find_plain(weights, _weight_settings(config))
    if kind == "pack-quantized":
        return _find_packed(weights, whole_number(_weight_settings(config), "num_bits", 2, 4, 8))
    if kind == "nvfp4-pack-quantized":
        return _find_nvfp4(weights)
    known = (*PLAIN_FORMATS, "pack-quantized", "nvfp4-pack-quantized")
    raise HeaderError(
        "packed-config", f"format {kind!r:.60} is not one of {', '.join(known)}", "quantization_config"
    )


def _weight_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1:
        raise HeaderError("packed-config", "exactly one of config_groups is read", "quantization_config")
    (group,) = groups.values()
    settings = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(settings, Mapping):
        raise HeaderError("packed-config", "the config group says nothing of weights", "quantization_config")
    return settings


def _find_plain(weights: Weights, settings: Mapping[str, Any]) -> Found:
    block = block_of(settings.get("block_structure"))
    found: Found = {}
    for name in weights.entries:
        if name.endswith(".weight_scale"):
            plain = name.removesuffix("_scale")
            found[plain] = scaled(weights, plain, name, block)
        elif name.endswith(ACTIVATION_SUFFIXES):
            found[name] = None
    return found


def _find_packed(weights: Weights, bits: int) -> Found:
    found: Found = {}
    for name in weights.entries:
        if name.endswith(".weight_packed"):
            plain = name.removesuffix("_packed")
            found[plain] = _packed(weights, plain, bits)
        elif name.endswith(ACTIVATION_SUFFIXES):
            found[name] = None
    return found


def _packed(weights: Weights, plain: str, bits: int) -> Made:
    per_number = 32 // bits
    packed = part(weights, f"{plain}_packed", "I32")
    expect_shape(part(weights, f"{plain}_shape", "I64", "I32"), 2)
    n_out, n_in = map(int, read_all(weights, f"{plain}_shape"))
    expect_shape(packed, n_out, -(-n_in // per_number))
    scale = part(weights, f"{plain}_scale", *FLOATS)
    n_groups = scale.shape[-1] if len(scale.shape) == 2 else 0
    if n_groups < 1 or scale.shape[0] != n_out or n_in % n_groups:
        raise HeaderError(
            "packed-shape",
            f"scales of shape {scale.shape} do not fit ({n_out}, {n_in})",
            f"tensor {quoted(scale.name)}",
        )
    parts = [f"{plain}_packed", f"{plain}_shape", f"{plain}_scale"]
    if has_zeros := f"{plain}_zero_point" in weights.entries:
        expect_shape(part(weights, f"{plain}_zero_point", "I32"), -(-n_out // per_number), n_groups)
        parts.append(f"{plain}_zero_point")
    return Made((n_out, n_in), _Packed(weights, plain, bits, n_in, has_zeros).rows, tuple(parts))


@dataclass(frozen=True)
class _Packed:
    weights: Weights
    plain: str
    bits: int
    n_in: int
    has_zeros: bool

    def rows(self, first: int, count: int) -> Rows:
        data = self.weights.read_rows(f"{self.plain}_packed", first, count)
        quants = unpack_bits(np.frombuffer(data, "<i4").reshape(count, -1), self.bits, axis=1)[:, : self.n_in]
        scales = self.weights.rows(f"{self.plain}_scale", first, count)
        grouped = quants.reshape(count, scales.shape[1], -1) - self._offsets(first, scales.shape)[:, :, None]
        return (grouped.astype(np.float32) * scales[:, :, None]).reshape(count, self.n_in)

    def _offsets(self, first: int, shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        if not self.has_zeros:
            return np.full(shape, 1 << (self.bits - 1), np.int16)
        zeros = unpack_bits(read_all(self.weights, f"{self.plain}_zero_point"), self.bits, axis=0)
        return zeros[first : first + shape[0]]


def _find_nvfp4(weights: Weights) -> Found:
    found: Found = {}
    for name in weights.entries:
        if name.endswith(".weight_packed"):
            plain = name.removesuffix("_packed")
            found[plain] = _nvfp4(weights, plain)
        elif name.endswith((*ACTIVATION_SUFFIXES, ".input_global_scale")):
            found[name] = None
    return found


def _nvfp4(weights: Weights, plain: str) -> Made:
    packed = part(weights, f"{plain}_packed", "U8")
    n_out, n_bytes = packed.shape if len(packed.shape) == 2 else (0, 0)
    expect_shape(packed, n_out, n_bytes)
    expect_shape(part(weights, f"{plain}_scale", "F8_E4M3"), n_out, n_bytes * 2 // NVFP4_GROUP)
    expect_shape(part(weights, f"{plain}_global_scale", "F32"), 1)
    parts = (f"{plain}_packed", f"{plain}_scale", f"{plain}_global_scale")

    def rows(first: int, count: int) -> Rows:
        stored = np.frombuffer(weights.read_rows(f"{plain}_packed", first, count), np.uint8).reshape(
            count, n_bytes
        )
        values = FP4[np.stack([stored & 15, stored >> 4], axis=-1)].reshape(count, -1, NVFP4_GROUP)
        scales = weights.rows(f"{plain}_scale", first, count) / read_floats(weights, f"{plain}_global_scale")
        return (values * scales[:, :, None]).reshape(count, -1)

    return Made((n_out, n_bytes * 2), rows, parts)
