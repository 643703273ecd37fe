"""Slow, obvious twins of the IQ3 and IQ4 types: one value after the other, in the order of ggml's loops."""

import struct
from collections.abc import Callable

import numpy as np

from tests.naive import f32, half, nearest_int

LEVELS = [f32(v) for v in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)]

Weights = np.ndarray | None


def best_index(value: np.float32) -> int:
    """best_index_int8: binary search for two levels, then the nearer one."""
    if value <= LEVELS[0]:
        return 0
    if value >= LEVELS[15]:
        return 15
    below, above = 0, 15
    while above - below > 1:
        middle = (below + above) // 2
        if value < LEVELS[middle]:
            above = middle
        else:
            below = middle
    return above - 1 if f32(value - LEVELS[above - 1]) < f32(LEVELS[above] - value) else above


def smoothed_weights(block: np.ndarray, weights: Weights, power_times: np.float32) -> list[np.float32]:
    """What each value weighs; `power_times` turns the sum of squares into what is added to each square."""
    if weights is None:
        return [f32(x * x) for x in block]
    power = f32(0)
    for x in block:
        power = f32(power + f32(x * x))
    power = f32(power * power_times)
    return [f32(w * np.sqrt(f32(power + f32(x * x)))) for x, w in zip(block, weights, strict=True)]


def iq4_scale(group: np.ndarray, weights: list[np.float32]) -> np.float32:
    largest = f32(0)
    for x in group:
        largest = x if abs(x) > abs(largest) else largest
    if abs(largest) < f32(1e-15):
        return f32(0)
    sum_qx, sum_q2 = _iq4_sums(group, weights, f32(f32(1) / f32(f32(-largest) / LEVELS[0])))
    scale = f32(sum_qx / sum_q2) if sum_q2 > 0 else f32(0)
    best = f32(scale * sum_qx)
    for step in range(-7, 8):
        sum_qx, sum_q2 = _iq4_sums(group, weights, f32(f32(step - 127) / largest))
        if sum_q2 > 0 and f32(sum_qx * sum_qx) > f32(best * sum_q2):
            scale = f32(sum_qx / sum_q2)
            best = f32(scale * sum_qx)
    return scale


def _iq4_sums(
    group: np.ndarray, weights: list[np.float32], inverse: np.float32
) -> tuple[np.float32, np.float32]:
    sum_qx, sum_q2 = f32(0), f32(0)
    for x, w in zip(group, weights, strict=True):
        q = LEVELS[best_index(f32(inverse * x))]
        sum_qx = f32(sum_qx + f32(f32(w * q) * x))
        sum_q2 = f32(sum_q2 + f32(f32(w * q) * q))
    return sum_qx, sum_q2


def _iq4_nibbles(group: np.ndarray, scale: np.float32) -> bytes:
    inverse = f32(f32(1) / scale) if scale else f32(0)
    numbers = [best_index(f32(inverse * x)) for x in group]
    return bytes(numbers[j] | numbers[j + 16] << 4 for j in range(16))


def iq4_nl_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    data = b""
    for start in range(0, len(row), 32):
        group = row[start : start + 32]
        part = None if weights is None else weights[start : start + 32]
        scale = iq4_scale(group, smoothed_weights(group, part, f32(2 / 32)))
        data += half(scale) + _iq4_nibbles(group, scale)
    return data


def iq4_xs_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    return b"".join(
        _iq4_xs_block(row[s : s + 256], None if weights is None else weights[s : s + 256])
        for s in range(0, len(row), 256)
    )


def _iq4_xs_block(block: np.ndarray, weights: Weights) -> bytes:
    weight = smoothed_weights(block, weights, f32(2 / 256))
    groups = [block[s : s + 32] for s in range(0, 256, 32)]
    scales = [iq4_scale(group, weight[32 * i : 32 * i + 32]) for i, group in enumerate(groups)]
    largest = f32(0)
    for scale in scales:
        largest = scale if abs(scale) > abs(largest) else largest
    d = f32(-largest / f32(32))
    inverse = f32(f32(1) / d) if d else f32(0)
    high, low, nibbles = 0, [0] * 4, b""
    for i, group in enumerate(groups):
        stored = max(-32, min(31, nearest_int(f32(inverse * scales[i]))))
        nibbles += _iq4_nibbles(group, f32(d * f32(stored)))
        high |= (stored + 32 >> 4) << 2 * i
        low[i // 2] |= (stored + 32 & 15) << 4 * (i % 2)
    return half(d) + struct.pack("<H", high) + bytes(low) + nibbles


QUANTIZERS: dict[str, Callable[..., bytes]] = {"IQ4_NL": iq4_nl_bytes, "IQ4_XS": iq4_xs_bytes}
