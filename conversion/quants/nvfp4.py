"""NVFP4: 64 floats of four bits (E2M1) in four groups of 16 with a scale of eight bits each; 4.5 bits a weight.

| bytes | what |
|---|---|
| 0-3 | the scale of each group: UE4M3, four exponent bits (bias 7) and three of mantissa, no sign |
| 4-35 | per group 8 bytes; byte j: element j in the low nibble, element j + 8 in the high one; see four_bit_floats.py |

(ggml-quants.c: quantize_row_nvfp4_ref, dequantize_row_nvfp4; ggml-impl.h: ggml_fp32_to_ue4m3, ggml_ue4m3_to_fp32; bit
for bit.) The scale is the largest magnitude / 6, rounded with halves up, and 448 from 248 on; 0 and 0x7F read as 0.
An importance matrix changes nothing.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.four_bit_floats import nearest_codes, values_of

BLOCK_SIZE, TYPE_SIZE, GROUP = 64, 36, 16
_MOST = np.float32(448)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    groups = blocks.reshape(-1, GROUP)
    scales = scale_codes(np.abs(groups).max(axis=1, keepdims=True) / np.float32(6))
    out[:, :4] = scales.reshape(-1, 4)
    codes = nearest_codes(groups, half_scale_of(scales))
    out[:, 4:] = (codes[:, :8] | codes[:, 8:] << 4).reshape(-1, 32)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    packed = blocks[:, 4:].reshape(-1, GROUP // 2)
    codes = np.concatenate([packed & 15, packed >> 4], axis=1)
    scales = half_scale_of(blocks[:, :4].reshape(-1, 1))
    np.copyto(out.reshape(-1, GROUP), values_of(codes, scales))


def scale_codes(values: Floats) -> Bytes:
    """UE4M3 of float32 that are not negative; what would round below the smallest number becomes 0."""
    limited = np.minimum(values, _MOST)
    bits = limited.view(np.int32)
    # The mantissa rounds up by its next bit alone and carries into the exponent. The highest exponent is 448 only.
    normal = (bits >> 20) + ((bits >> 19) & 1) - (120 << 3)
    normal = np.where(normal >= 0x78, 0x7E, normal)
    subnormal = np.minimum((limited * np.float32(512) + np.float32(0.5)).astype(np.int32), 7)
    is_normal = (bits >> 23) > 120
    return np.where(is_normal, normal, subnormal).astype(np.uint8)


def half_scale_of(codes: Bytes) -> Floats:
    """Half the value of UE4M3 codes, float32; 0 and 0x7F are 0, and the high bit says nothing."""
    exponent, mantissa = (codes >> 3) & 15, (codes & 7).astype(np.float32)
    normal = np.ldexp(np.float32(1) + mantissa / np.float32(8), exponent.astype(np.int32) - 8)
    value = np.where(exponent == 0, mantissa * np.float32(2.0**-10), normal)
    return np.where((codes == 0) | (codes == 0x7F), np.float32(0), value).astype(np.float32)


NVFP4 = QuantType("NVFP4", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, uses_imatrix=False)
