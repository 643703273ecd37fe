"""Slow, obvious twins of every kernel: one value at a time, one float32 operation at a time, in ggml's order.

They are written from ggml's C, loop by loop, and never share code with what they check.
"""

import math
import struct

import numpy as np

f32 = np.float32


def half(value: np.float32) -> bytes:
    return struct.pack("<e", float(value))


def from_half(data: bytes) -> np.float32:
    return f32(struct.unpack("<e", data)[0])


def roundf(value: np.float32) -> int:
    """C's roundf, then its cast to int32: halves away from zero, and INT_MIN for what no integer can be."""
    if not math.isfinite(value):
        return -(2**31)
    magnitude = math.floor(abs(float(value)) + 0.5)
    return -magnitude if value < 0 else magnitude


def nearest_int(value: np.float32) -> int:
    (bits,) = struct.unpack("<i", struct.pack("<f", f32(value + f32(12582912.0))))
    return (bits & 0x007FFFFF) - 0x00400000


def f32_bytes(row: np.ndarray) -> bytes:
    return b"".join(struct.pack("<f", value) for value in row)


def f16_bytes(row: np.ndarray) -> bytes:
    return b"".join(half(value) for value in row)


def bf16_bytes(row: np.ndarray) -> bytes:
    data = b""
    for value in row:
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        lower, upper = bits & 0xFFFF, bits >> 16
        if lower > 0x8000 or (lower == 0x8000 and upper & 1):
            upper += 1
        data += struct.pack("<H", upper)
    return data


def q8_0_bytes(row: np.ndarray) -> bytes:
    data = b""
    for start in range(0, len(row), 32):
        block = row[start : start + 32]
        amax = f32(0)
        for value in block:
            amax = max(amax, abs(value))
        d = f32(amax / f32(127))
        inverse = f32(f32(1) / d) if d else f32(0)
        data += half(d) + b"".join(struct.pack("<B", roundf(f32(value * inverse)) & 0xFF) for value in block)
    return data


def q4_0_bytes(row: np.ndarray) -> bytes:
    data = b""
    for start in range(0, len(row), 32):
        block = row[start : start + 32]
        amax, largest = f32(0), f32(0)
        for value in block:
            if amax < abs(value):
                amax, largest = abs(value), value
        d = f32(largest / f32(-8))
        inverse = f32(f32(1) / d) if d else f32(0)
        nibbles = [min(15, int(f32(f32(value * inverse) + f32(8.5)))) for value in block]
        data += half(d) + bytes(nibbles[j] | nibbles[j + 16] << 4 for j in range(16))
    return data


def scale_search(group: np.ndarray, n_max: int) -> tuple[np.float32, list[int]]:
    """make_qx_quants with weights x * x."""
    amax, largest = f32(0), f32(0)
    for value in group:
        if abs(value) > amax:
            amax, largest = abs(value), value
    if amax < f32(1e-15):
        return f32(0), [0] * len(group)
    scale, best, chosen = f32(0), f32(0), [0] * len(group)
    for step in [0, *range(-9, 0), *range(1, 10)]:
        inverse = f32(-f32(f32(n_max) + f32(f32(0.1) * f32(step))) / largest)
        levels = [max(-n_max, min(n_max - 1, nearest_int(f32(inverse * value)))) for value in group]
        sum_lx, sum_l2 = f32(0), f32(0)
        for value, level in zip(group, levels, strict=True):
            weight = f32(value * value)
            sum_lx = f32(sum_lx + f32(f32(weight * value) * f32(level)))
            sum_l2 = f32(sum_l2 + f32(f32(weight * f32(level)) * f32(level)))
        if step == 0:
            scale = f32(sum_lx / sum_l2) if sum_l2 else f32(0)
            best, chosen = f32(scale * sum_lx), levels
        elif sum_l2 > 0 and f32(sum_lx * sum_lx) > f32(best * sum_l2):
            scale = f32(sum_lx / sum_l2)
            best, chosen = f32(scale * sum_lx), levels
    return scale, [level + n_max for level in chosen]


def q6_k_bytes(row: np.ndarray) -> bytes:
    data = b""
    for start in range(0, len(row), 256):
        data += _q6_k_block(row[start : start + 256])
    return data


def _q6_k_block(block: np.ndarray) -> bytes:
    scales, quants = [], []
    for group in range(16):
        scale, levels = scale_search(block[16 * group : 16 * group + 16], 32)
        scales.append(scale)
        quants += levels
    largest = f32(0)
    for scale in scales:
        if abs(scale) > abs(largest):
            largest = scale
    if abs(largest) < f32(1e-15):
        return bytes(210)
    inverse = f32(f32(-128) / largest)
    d = half(f32(f32(1) / inverse))
    stored = [min(127, nearest_int(f32(inverse * scale))) for scale in scales]
    for i, value in enumerate(block):
        step = f32(from_half(d) * f32(stored[i // 16]))
        if step:
            quants[i] = max(-32, min(31, nearest_int(f32(value / step)))) + 32
    low, high = bytearray(128), bytearray(64)
    for half_start, low_start, high_start in ((0, 0, 0), (128, 64, 32)):
        for i in range(32):
            q1, q2, q3, q4 = (quants[half_start + i + 32 * k] for k in range(4))
            low[low_start + i] = (q1 & 15) | (q3 & 15) << 4
            low[low_start + 32 + i] = (q2 & 15) | (q4 & 15) << 4
            high[high_start + i] = q1 >> 4 | (q2 >> 4) << 2 | (q3 >> 4) << 4 | (q4 >> 4) << 6
    return bytes(low) + bytes(high) + b"".join(struct.pack("<b", scale) for scale in stored) + d


def interleaved(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """q and k as ggml wants them: within each head, row (half, i) goes to (i, half)."""
    out = np.empty_like(rows)
    for row in range(len(rows)):
        head, within = divmod(row, head_dim)
        which_half, i = divmod(within, head_dim // 2)
        out[head * head_dim + 2 * i + which_half] = rows[row]
    return out


QUANTIZERS = {
    "F32": f32_bytes, "F16": f16_bytes, "BF16": bf16_bytes, "Q8_0": q8_0_bytes, "Q4_0": q4_0_bytes,
    "Q6_K": q6_k_bytes,
}  # fmt: skip
