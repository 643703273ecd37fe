"""Slow, obvious twins of the K-quants: one value after the other, in the order of ggml's loops.

They are written from ggml's C, with and without importance matrix, and never share code with what they check.
"""

import numpy as np

from tests.naive import f32, from_half, half, nearest_int

Weights = np.ndarray | None
EPS = f32(1e-15)


def total(values: list[np.float32] | np.ndarray) -> np.float32:
    result = f32(0)
    for value in values:
        result = f32(result + value)
    return result


def limited(number: int, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, number))


def fit_scale(x: np.ndarray, n_max: int, w: np.ndarray) -> tuple[np.float32, list[int]]:
    """make_qx_quants with rmse_type 1."""
    largest = f32(0)
    for value in x:
        if abs(value) > abs(largest):
            largest = value
    if abs(largest) < EPS:
        return f32(0), [0] * len(x)
    scale, best, chosen = f32(0), f32(0), [0] * len(x)
    for step in [0, *range(-9, 0), *range(1, 10)]:
        inverse = f32(-f32(f32(n_max) + f32(f32(0.1) * f32(step))) / largest)
        levels = [limited(nearest_int(f32(inverse * value)), -n_max, n_max - 1) for value in x]
        sum_lx, sum_l2 = f32(0), f32(0)
        for value, weight, level in zip(x, w, levels, strict=True):
            sum_lx = f32(sum_lx + f32(f32(weight * value) * f32(level)))
            sum_l2 = f32(sum_l2 + f32(f32(weight * f32(level)) * f32(level)))
        is_better = step == 0 or (sum_l2 > 0 and f32(sum_lx * sum_lx) > f32(best * sum_l2))
        if is_better:
            scale = f32(sum_lx / sum_l2) if sum_l2 else f32(0)
            best, chosen = f32(scale * sum_lx), levels
    return scale, [level + n_max for level in chosen]


def refine_scale(x: np.ndarray, n_max: int) -> tuple[np.float32, list[int]]:
    """make_q3_quants."""
    largest = f32(0)
    for value in x:
        if abs(value) > abs(largest):
            largest = value
    if abs(largest) < EPS:
        return f32(0), [0] * len(x)
    inverse = f32(f32(-n_max) / largest)
    levels = [limited(nearest_int(f32(inverse * value)), -n_max, n_max - 1) for value in x]
    sum_lx = total([f32(f32(f32(v * v) * v) * f32(k)) for v, k in zip(x, levels, strict=True)])
    sum_l2 = total([f32(f32(f32(v * v) * f32(k)) * f32(k)) for v, k in zip(x, levels, strict=True)])
    for _ in range(5):
        n_changed = 0
        for i, value in enumerate(x):
            w, level = f32(value * value), f32(levels[i])
            lx = f32(sum_lx - f32(f32(w * value) * level))
            if lx > 0:
                l2 = f32(sum_l2 - f32(f32(w * level) * level))
                wanted = limited(nearest_int(f32(f32(value * l2) / lx)), -n_max, n_max - 1)
                if wanted != levels[i]:
                    lx = f32(lx + f32(f32(w * value) * f32(wanted)))
                    l2 = f32(l2 + f32(f32(w * f32(wanted)) * f32(wanted)))
                    if l2 > 0 and f32(f32(lx * lx) * sum_l2) > f32(f32(sum_lx * sum_lx) * l2):
                        levels[i], sum_lx, sum_l2 = wanted, lx, l2
                        n_changed += 1
        if not n_changed:
            break
    return f32(sum_lx / sum_l2) if sum_l2 > 0 else f32(0), [level + n_max for level in levels]


def fit_scale_and_minimum(
    x: np.ndarray, n_max: int, w: np.ndarray, tries: tuple[float, float, int], absolute: bool = False
) -> tuple[np.float32, np.float32, list[int]]:
    """make_qkx2_quants and make_qkx3_quants."""

    def error_of(scale: np.float32, low: np.float32, levels: list[int]) -> np.float32:
        error = f32(0)
        for value, weight, level in zip(x, w, levels, strict=True):
            diff = f32(f32(f32(scale * f32(level)) + low) - value)
            error = f32(error + f32(weight * (abs(diff) if absolute else f32(diff * diff))))
        return error

    def levels_by(inverse: np.float32) -> list[int]:
        return [limited(nearest_int(f32(inverse * f32(value - low))), 0, n_max) for value in x]

    low, high = min(x), max(x)
    sum_w, sum_x = total(w), total(w * x)
    if low > 0:
        low = f32(0)
    if high == low:
        return f32(0), f32(-low), [0] * len(x)
    inverse = f32(f32(n_max) / f32(high - low))
    scale, chosen = f32(f32(1) / inverse), levels_by(inverse)
    best = error_of(scale, low, chosen)
    first, delta, n_tries = tries
    for step in range(n_tries):
        offset = f32(f32(f32(first) + f32(f32(delta) * f32(step))) + f32(n_max))
        levels = levels_by(f32(offset / f32(high - low)))
        sum_l, sum_l2, sum_xl = f32(0), f32(0), f32(0)
        for value, weight, level in zip(x, w, levels, strict=True):
            weighted = f32(weight * f32(level))
            sum_l = f32(sum_l + weighted)
            sum_l2 = f32(sum_l2 + f32(weighted * f32(level)))
            sum_xl = f32(sum_xl + f32(weighted * value))
        determinant = f32(f32(sum_w * sum_l2) - f32(sum_l * sum_l))
        if determinant > 0:
            this_scale = f32(f32(f32(sum_w * sum_xl) - f32(sum_x * sum_l)) / determinant)
            this_low = f32(f32(f32(sum_l2 * sum_x) - f32(sum_l * sum_xl)) / determinant)
            if this_low > 0:
                this_low, this_scale = f32(0), f32(sum_xl / sum_l2)
            error = error_of(this_scale, this_low, levels)
            if error < best:
                chosen, best, scale, low = levels, error, this_scale, this_low
    return scale, f32(-low), chosen


def fit_positive_scale(x: list[np.float32], n_max: int, w: list[np.float32]) -> tuple[np.float32, list[int]]:
    """make_qp_quants."""
    largest = f32(0)
    for value in x:
        largest = largest if largest > value else value
    if largest < EPS:
        return f32(0), [0] * len(x)

    def error_of(inverse: np.float32, levels: list[int]) -> np.float32:
        error = f32(0)
        for value, weight, level in zip(x, w, levels, strict=True):
            diff = f32(value - f32(f32(f32(1) / inverse) * f32(level)))
            error = f32(error + f32(f32(weight * diff) * diff))
        return error

    inverse = f32(f32(n_max) / largest)
    best = error_of(inverse, [nearest_int(f32(inverse * value)) & 255 for value in x])
    for step in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = f32(f32(f32(f32(0.1) * f32(step)) + f32(n_max)) / largest)
        error = error_of(tried, [min(n_max, nearest_int(f32(tried * value))) for value in x])
        if error < best:
            best, inverse = error, tried
    levels = [min(n_max, nearest_int(f32(inverse * value))) for value in x]
    sum_lx, sum_l2 = f32(0), f32(0)
    for value, weight, level in zip(x, w, levels, strict=True):
        sum_lx = f32(sum_lx + f32(f32(weight * value) * f32(level)))
        sum_l2 = f32(sum_l2 + f32(f32(weight * f32(level)) * f32(level)))
    levels = [level & 255 for level in levels]
    for _ in range(5):
        n_changed = 0
        for i, (value, weight) in enumerate(zip(x, w, strict=True)):
            level = f32(levels[i])
            lx = f32(sum_lx - f32(f32(weight * value) * level))
            l2 = f32(sum_l2 - f32(f32(weight * level) * level))
            if lx > 0 and l2 > 0:
                wanted = min(n_max, nearest_int(f32(f32(value * l2) / lx)))
                if wanted != levels[i]:
                    lx = f32(lx + f32(f32(weight * value) * f32(wanted)))
                    l2 = f32(l2 + f32(f32(weight * f32(wanted)) * f32(wanted)))
                    if f32(f32(lx * lx) * sum_l2) > f32(f32(sum_lx * sum_lx) * l2):
                        levels[i], sum_lx, sum_l2 = wanted & 255, lx, l2
                        n_changed += 1
        if not n_changed:
            break
    return f32(sum_lx / sum_l2) if sum_l2 > 0 else f32(0), levels


def smoothed(block: np.ndarray, weights: np.ndarray, factor: int) -> np.ndarray:
    power = f32(f32(f32(factor) * total(block * block)) / f32(256))
    return np.array([f32(q * np.sqrt(f32(power + f32(x * x)))) for x, q in zip(block, weights, strict=True)])


def share(values: list[np.float32], n_max: int) -> tuple[np.float32, list[int]]:
    """The largest / n_max, and each as a share of the largest."""
    largest = f32(0)
    for value in values:
        largest = max(largest, value)
    inverse = f32(f32(n_max) / largest) if largest > 0 else f32(0)
    return f32(largest / f32(n_max)), [nearest_int(f32(inverse * value)) & 255 for value in values]


def affine_block(block: np.ndarray, weights: Weights, n_max: int, tries: tuple[float, float, int]) -> tuple:
    """The first 16 bytes of Q4_K and Q5_K, and 256 quants."""
    found, group_weights = [], []
    importance = None if weights is None else smoothed(block, weights, 2)
    for start in range(0, 256, 32):
        x = block[start : start + 32]
        if importance is None:
            typical = np.sqrt(f32(total(x * x) / f32(32)))
            w = np.array([f32(typical + abs(value)) for value in x])
        else:
            w, tries = importance[start : start + 32], (-0.9, 0.05, 37)
        group_weights.append(total(w))
        found.append(fit_scale_and_minimum(x, n_max, w, tries))
    scales, minima = [f[0] for f in found], [f[1] for f in found]
    if weights is None:
        (d, ls), (dmin, lm) = share(scales, 63), share(minima, 63)
        ls, lm = [min(63, k) for k in ls], [min(63, k) for k in lm]
    else:
        d, ls = fit_positive_scale(scales, 63, group_weights)
        dmin, lm = fit_positive_scale(minima, 63, group_weights)
    packed = bytearray(12)
    for j in range(4):
        packed[j], packed[j + 4] = ls[j], lm[j]
    for j in range(4, 8):
        packed[j + 4] = (ls[j] & 15) | (lm[j] & 15) << 4
        packed[j - 4] |= ls[j] >> 4 << 6 & 255
        packed[j] |= lm[j] >> 4 << 6 & 255
    header, quants = half(d) + half(dmin) + bytes(packed), []
    for j in range(8):
        if j < 4:
            sc, m = packed[j] & 63, packed[j + 4] & 63
        else:
            sc = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4
            m = packed[j + 4] >> 4 | packed[j] >> 6 << 4
        step, offset = f32(from_half(header[:2]) * f32(sc)), f32(from_half(header[2:4]) * f32(m))
        quants += requantized(block[32 * j : 32 * j + 32], step, offset, n_max, found[j][2])
    return header, quants


def requantized(
    x: np.ndarray, step: np.float32, offset: np.float32, n_max: int, searched: list[int]
) -> list[int]:
    if step == 0:
        return searched
    return [limited(nearest_int(f32(f32(value + offset) / step)), 0, n_max) for value in x]


def two_bits(quants: list[int]) -> bytes:
    data = b""
    for j in (0, 128):
        data += bytes(sum(quants[j + i + 32 * k] << 2 * k for k in range(4)) for i in range(32))
    return data


def nibbles(quants: list[int]) -> bytes:
    data = b""
    for j in range(0, 256, 64):
        data += bytes(quants[j + i] & 15 | (quants[j + i + 32] & 15) << 4 for i in range(32))
    return data


def q4_k_block(block: np.ndarray, weights: Weights) -> bytes:
    header, quants = affine_block(block, weights, 15, (-1.0, 0.1, 21))
    return header + nibbles(quants)


def q5_k_block(block: np.ndarray, weights: Weights) -> bytes:
    header, quants = affine_block(block, weights, 31, (-0.5, 0.1, 16))
    high = bytes(sum(quants[32 * g + i] >> 4 << g for g in range(8)) for i in range(32))
    return header + high + nibbles(quants)


def q2_k_block(block: np.ndarray, weights: Weights) -> bytes:
    found, group_weights = [], []
    importance = abs(block) if weights is None else smoothed(block, weights, 1)
    tries = (-0.5, 0.1, 16) if weights is None else (-0.9, 0.05, 37)
    for start in range(0, 256, 16):
        x, w = block[start : start + 16], importance[start : start + 16]
        group_weights.append(total(w))
        found.append(fit_scale_and_minimum(x, 3, w, tries, absolute=weights is None))
    scales, minima = [f[0] for f in found], [f[1] for f in found]
    if weights is None:
        (d, ls), (dmin, lm) = share(scales, 15), share(minima, 15)
    else:
        d, ls = fit_positive_scale(scales, 15, group_weights)
        dmin, lm = fit_positive_scale(minima, 15, group_weights)
    codes, quants = [(s | m << 4) & 255 for s, m in zip(ls, lm, strict=True)], []
    for j, code in enumerate(codes):
        step, offset = f32(from_half(half(d)) * f32(code & 15)), f32(from_half(half(dmin)) * f32(code >> 4))
        quants += requantized(block[16 * j : 16 * j + 16], step, offset, 3, found[j][2])
    return bytes(codes) + two_bits(quants) + half(d) + half(dmin)


def q3_k_block(block: np.ndarray, weights: Weights) -> bytes:
    groups = [block[start : start + 16] for start in range(0, 256, 16)]
    if weights is None:
        found = [refine_scale(x, 4) for x in groups]
        largest = f32(0)
        for scale, _ in found:
            if abs(scale) > abs(largest):
                largest = scale
        inverse = f32(f32(-32) / largest)
        codes = [
            limited(nearest_int(f32(inverse * scale)), -32, 31) + 32 if largest else 0 for scale, _ in found
        ]
        d = f32(f32(1) / inverse) if largest else f32(0)
    else:
        importance = smoothed(block, weights, 2).reshape(16, 16)
        found = [fit_scale(x, 4, w) for x, w in zip(groups, importance, strict=True)]
        d, codes = fit_scale(np.array([f[0] for f in found]), 32, np.array([total(w) for w in importance]))
    packed, quants = bytearray(12), []
    for j, code in enumerate(codes):
        packed[j % 8] |= (code & 15) << 4 * (j // 8)
        packed[8 + j % 4] |= code >> 4 << 2 * (j // 4)
        quants += signed_quants(groups[j], f32(from_half(half(d)) * f32(code - 32)), 4, found[j][1])
    high = bytes(sum(quants[32 * k + i] >> 2 << k for k in range(8)) for i in range(32))
    return high + two_bits([quant & 3 for quant in quants]) + bytes(packed) + half(d)


def q6_k_block(block: np.ndarray, weights: Weights) -> bytes:
    importance = block * block if weights is None else weights
    groups = [(start, block[start : start + 16]) for start in range(0, 256, 16)]
    found = [fit_scale(x, 32, importance[start : start + 16]) for start, x in groups]
    largest = f32(0)
    for scale, _ in found:
        if abs(scale) > abs(largest):
            largest = scale
    if abs(largest) < EPS:
        return bytes(210)
    inverse = f32(f32(-128) / largest)
    d = half(f32(f32(1) / inverse))
    codes = [min(127, nearest_int(f32(inverse * scale))) for scale, _ in found]
    quants = []
    for (_, x), code, (_, searched) in zip(groups, codes, found, strict=True):
        quants += signed_quants(x, f32(from_half(d) * f32(code)), 32, searched)
    low = b""
    for j in (0, 128):
        low += bytes(quants[j + i] & 15 | (quants[j + i + 64] & 15) << 4 for i in range(64))
    high = two_bits([quant >> 4 for quant in quants])
    return low + high + bytes(code & 255 for code in codes) + d


def signed_quants(x: np.ndarray, step: np.float32, n_max: int, searched: list[int]) -> list[int]:
    if step == 0:
        return searched
    return [limited(nearest_int(f32(value / step)), -n_max, n_max - 1) + n_max for value in x]


BLOCKS = {"Q2_K": q2_k_block, "Q3_K": q3_k_block, "Q4_K": q4_k_block, "Q5_K": q5_k_block, "Q6_K": q6_k_block}


def quantized(type_name: str, row: np.ndarray, weights: Weights) -> bytes:
    data = b""
    for start in range(0, len(row), 256):
        part = None if weights is None else weights[start : start + 256]
        data += BLOCKS[type_name](row[start : start + 256], part)
    return data
