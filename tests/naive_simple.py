"""Slow, obvious twins of the simple types: one value after the other, in the order of ggml's loops."""

import math
import struct
from collections.abc import Callable, Iterator

import numpy as np

from tests.naive import f32, half, nearest_int, roundf

Weights = np.ndarray | None
FLT_MAX = np.finfo(f32).max


def blocks_of(row: np.ndarray, weights: Weights, size: int) -> Iterator[tuple[np.ndarray, Weights]]:
    """Blocks, and the importance of their elements: the weight times sqrt(mean square of the row + x * x)."""
    total = f32(0)
    for value in row:
        total = f32(total + f32(value * value))
    power = f32(total / f32(len(row)))
    for start in range(0, len(row), size):
        block = row[start : start + size]
        if weights is None:
            yield block, None
            continue
        pairs = zip(weights[start : start + size], block, strict=True)
        yield block, np.array([f32(w * np.sqrt(f32(power + f32(x * x)))) for w, x in pairs], dtype=f32)


def first_largest(block: np.ndarray) -> np.float32:
    amax, largest = f32(0), f32(0)
    for value in block:
        if amax < abs(value):
            amax, largest = abs(value), value
    return largest


def cut_off(value: np.float32) -> int:
    """C's cast to int8, by way of int32 as x86 does it."""
    number = int(value) if np.isfinite(value) and abs(value) < 2**31 else -(2**31)
    return (number + 128) % 256 - 128


def inverse_of(d: np.float32) -> np.float32:
    return f32(f32(1) / d) if d else f32(0)


def weighted_scale(block: np.ndarray, weights: np.ndarray, n_max: int) -> tuple[np.float32, list[int]]:
    """make_qx_quants with weights."""
    largest = first_largest(block)
    if abs(largest) < f32(1e-15):
        return f32(0), [0] * len(block)
    scale = best = f32(0)
    chosen = [0] * len(block)
    for step in [0, *range(-9, 0), *range(1, 10)]:
        inverse = f32(-f32(f32(n_max) + f32(f32(0.1) * f32(step))) / largest)
        levels = [max(-n_max, min(n_max - 1, nearest_int(f32(inverse * x)))) for x in block]
        sum_lx = sum_l2 = f32(0)
        for w, x, level in zip(weights, block, levels, strict=True):
            sum_lx = f32(sum_lx + f32(f32(w * x) * f32(level)))
            sum_l2 = f32(sum_l2 + f32(f32(w * f32(level)) * f32(level)))
        if step == 0:
            scale = f32(sum_lx / sum_l2) if sum_l2 else f32(0)
        elif sum_l2 > 0 and f32(sum_lx * sum_lx) > f32(best * sum_l2):
            scale = f32(sum_lx / sum_l2)
        else:
            continue
        best, chosen = f32(scale * sum_lx), levels
    return scale, [level + n_max for level in chosen]


def weighted_pair(
    block: np.ndarray, weights: np.ndarray, n_max: int
) -> tuple[np.float32, np.float32, list[int]]:
    """make_qkx3_quants with 36 steps from -0.9 by 0.05: scale, minimum (as it is stored) and quants."""
    low = high = block[0]
    sum_w = weights[0]
    sum_x = f32(sum_w * block[0])
    for w, x in zip(weights[1:], block[1:], strict=True):
        low, high = (x if x < low else low), (x if x > high else high)
        sum_w, sum_x = f32(sum_w + w), f32(sum_x + f32(w * x))
    if low > 0:
        low = f32(0)
    if high <= low:
        return f32(0), low, [0] * len(block)
    inverse = f32(f32(n_max) / f32(high - low))
    scale = f32(f32(1) / inverse)
    chosen = levels_of(block, low, inverse, n_max)
    best = error_of(block, weights, scale, low, chosen)
    for step in range(37):
        offset = f32(f32(f32(-0.9) + f32(f32(0.05) * f32(step))) + f32(n_max))
        levels = levels_of(block, low, f32(offset / f32(high - low)), n_max)
        sum_l = sum_l2 = sum_xl = f32(0)
        for w, x, level in zip(weights, block, levels, strict=True):
            wl = f32(w * f32(level))
            sum_l, sum_l2 = f32(sum_l + wl), f32(sum_l2 + f32(wl * f32(level)))
            sum_xl = f32(sum_xl + f32(wl * x))
        determinant = f32(f32(sum_w * sum_l2) - f32(sum_l * sum_l))
        if not determinant > 0:
            continue
        fitted = f32(f32(f32(sum_w * sum_xl) - f32(sum_x * sum_l)) / determinant)
        fitted_low = f32(f32(f32(sum_l2 * sum_x) - f32(sum_l * sum_xl)) / determinant)
        if fitted_low > 0:
            fitted_low, fitted = f32(0), f32(sum_xl / sum_l2)
        error = error_of(block, weights, fitted, fitted_low, levels)
        if error < best:
            best, chosen, scale, low = error, levels, fitted, fitted_low
    return scale, low, chosen


def levels_of(block: np.ndarray, low: np.float32, inverse: np.float32, n_max: int) -> list[int]:
    return [max(0, min(n_max, nearest_int(f32(inverse * f32(x - low))))) for x in block]


def error_of(
    block: np.ndarray, weights: np.ndarray, scale: np.float32, low: np.float32, levels: list[int]
) -> np.float32:
    error = f32(0)
    for w, x, level in zip(weights, block, levels, strict=True):
        difference = f32(f32(f32(scale * f32(level)) + low) - x)
        error = f32(error + f32(w * f32(difference * difference)))
    return error


def nibbles(quants: list[int]) -> bytes:
    size = len(quants) // 2
    return bytes(quants[j] & 15 | (quants[j + size] & 15) << 4 for j in range(size))


def fifth_bits(quants: list[int]) -> bytes:
    return sum((q >> 4 & 1) << j for j, q in enumerate(quants)).to_bytes(4, "little")


def signed_bytes(row: np.ndarray, weights: Weights, n_max: int) -> bytes:
    """Q4_0 and Q5_0."""
    data = b""
    for block, importance in blocks_of(row, weights, 32):
        if importance is None:
            d = f32(first_largest(block) / f32(-n_max))
            products = [f32(x * inverse_of(d)) for x in block]
            quants = [min(2 * n_max - 1, cut_off(f32(p + f32(n_max + 0.5)))) for p in products]
        else:
            d, quants = weighted_scale(block, importance, n_max)
        data += half(d) + (fifth_bits(quants) if n_max == 16 else b"") + nibbles(quants)
    return data


def ranged_bytes(row: np.ndarray, weights: Weights, n_max: int) -> bytes:
    """Q4_1 and Q5_1."""
    data = b""
    for block, importance in blocks_of(row, weights, 32):
        if importance is None:
            low, high = FLT_MAX, -FLT_MAX
            for x in block:
                low, high = (x if x < low else low), (x if x > high else high)
            d = f32(f32(high - low) / f32(n_max))
            products = [f32(f32(x - low) * inverse_of(d)) for x in block]
            quants = [min(n_max, cut_off(f32(p + f32(0.5)))) for p in products]
        else:
            d, low, quants = weighted_pair(block, importance, n_max)
        data += half(d) + half(low) + (fifth_bits(quants) if n_max == 31 else b"") + nibbles(quants)
    return data


def q1_0_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for block, _ in blocks_of(row, None, 128):
        total = f32(0)
        for x in block:
            total = f32(total + abs(x))
            signs = sum(int(x >= 0) << j for j, x in enumerate(block))
        data += half(f32(total / f32(128))) + signs.to_bytes(16, "little")
    return data


def shares(block: np.ndarray, infinite: int) -> tuple[np.float32, list[int]]:
    """The largest magnitude, and every value as a share of it, rounded; `infinite` is what C makes of infinity."""
    d = abs(first_largest(block))
    products = [f32(x * inverse_of(d)) for x in block]
    return d, [roundf(p) if np.isfinite(p) else infinite for p in products]


def q2_0_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for block, _ in blocks_of(row, None, 64):
        d, found = shares(block, -(2**31))
        quants = [max(0, min(3, q + 1)) for q in found]
        data += half(d) + bytes(
            sum(q << 2 * k for k, q in enumerate(quants[j : j + 4])) for j in range(0, 64, 4)
        )
    return data


def tq2_0_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for block, _ in blocks_of(row, None, 256):
        d, found = shares(block, 0)
        for start in (0, 128):
            data += bytes(sum((found[start + m + 32 * n] + 1) << 2 * n for n in range(4)) for m in range(32))
        data += half(d)
    return data


def tq1_0_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for block, _ in blocks_of(row, None, 256):
        d, found = shares(block, 0)
        for start, n_bytes, n_digits in ((0, 32, 5), (160, 16, 5), (240, 4, 4)):
            for m in range(n_bytes):
                number = sum((found[start + m + k * n_bytes] + 1) * 3 ** (4 - k) for k in range(n_digits))
                data += bytes([-(-number * 256 // 243)])
        data += half(d)
    return data


def e2m1_code(x: np.float32, scale: np.float32) -> int:
    """best_index_mxfp4: the first of the sixteen values that no later one is nearer than."""
    values = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]
    best, nearest = 0, abs(f32(f32(0) * scale - x))
    for i, value in enumerate(values):
        error = abs(f32(f32(f32(value) * scale) - x))
        if error < nearest:
            best, nearest = i, error
    return best


def mxfp4_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for block, _ in blocks_of(row, None, 32):
        largest = abs(first_largest(block))
        e = (math.floor(f32(math.log2(largest))) + 125) % 256 if largest > 0 else 0
        scale = f32(math.ldexp(1.0, e - 128))
        data += bytes([e]) + nibbles([e2m1_code(x, scale) for x in block])
    return data


def ue4m3(x: np.float32) -> tuple[int, np.float32]:
    """The code of a scale, and half of what it stands for."""
    (bits,) = struct.unpack("<I", struct.pack("<f", min(x, f32(448))))
    exponent, mantissa = (bits >> 23) - 120, (bits >> 20 & 7) + (bits >> 19 & 1)
    if exponent <= 0:
        code = min(7, int(f32(f32(x * f32(512)) + f32(0.5))))
        return code, f32(math.ldexp(code, -10))
    exponent, mantissa = exponent + mantissa // 8, mantissa % 8
    code = 0x7E if exponent >= 15 else exponent << 3 | mantissa
    return code, f32(math.ldexp(1 + (code & 7) / 8, (code >> 3) - 8))


def nvfp4_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for block, _ in blocks_of(row, None, 64):
        scales, codes = b"", b""
        for start in range(0, 64, 16):
            group = block[start : start + 16]
            code, half_scale = ue4m3(f32(abs(first_largest(group)) / f32(6)))
            scales += bytes([code])
            codes += nibbles([e2m1_code(x, half_scale) for x in group])
        data += scales + codes
    return data


def f8_bytes(row: np.ndarray, mantissa_bits: int, bias: int) -> bytes:
    """The nearest of all numbers there are; of two as near, the one with the even code."""
    values = []
    for code in range(0x7F if mantissa_bits == 3 else 0x7C):
        exponent, mantissa = code >> mantissa_bits, (code & ((1 << mantissa_bits) - 1)) / 2**mantissa_bits
        values.append(math.ldexp(mantissa + (exponent > 0), max(exponent, 1) - bias))
    data = b""
    for x in row.astype(float):
        code = min(range(len(values)), key=lambda c: (abs(values[c] - abs(x)), c & 1))
        data += bytes([code | (math.copysign(1, x) < 0) << 7])
    return data


QUANTIZERS: dict[str, Callable[[np.ndarray, Weights], bytes]] = {
    "Q4_0": lambda row, weights: signed_bytes(row, weights, 8),
    "Q4_1": lambda row, weights: ranged_bytes(row, weights, 15),
    "Q5_0": lambda row, weights: signed_bytes(row, weights, 16),
    "Q5_1": lambda row, weights: ranged_bytes(row, weights, 31),
    "Q1_0": q1_0_bytes,
    "Q2_0": q2_0_bytes,
    "TQ1_0": tq1_0_bytes,
    "TQ2_0": tq2_0_bytes,
    "MXFP4": mxfp4_bytes,
    "NVFP4": nvfp4_bytes,
    "F8_E4M3": lambda row, weights: f8_bytes(row, 3, 7),
    "F8_E5M2": lambda row, weights: f8_bytes(row, 2, 15),
}
