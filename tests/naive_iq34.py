"""Slow, obvious twins of the IQ3 and IQ4 types: one value after the other, in the order of ggml's loops."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from conversion.quants.grids import N_DISTANCES, grid
from tests import naive_iq12
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


@cache
def _points(type_name: str) -> list[tuple[int, ...]]:
    return naive_iq12.points_of(grid(type_name).digits)


@cache
def _neighbours(type_name: str, place: tuple[int, ...]) -> list[int]:
    return naive_iq12.neighbours(_points(type_name), place, N_DISTANCES[type_name])


@dataclass
class Group:
    """Thirty-two magnitudes on their way to points; `levels` are the eight points found, as digits 0 ... 7."""

    type_name: str
    x: list[np.float32]
    weights: list[np.float32]
    levels: list[tuple[int, ...]] = field(default_factory=lambda: [(0, 0, 0, 0)] * 8)

    def rounded(self, k: int, inverse: np.float32) -> tuple[int, ...]:
        return tuple(
            max(0, min(7, nearest_int(f32(f32(0.5) * f32(f32(inverse * x) - f32(1))))))
            for x in self.x[4 * k : 4 * k + 4]
        )

    def point(self, k: int, place: tuple[int, ...], scale: np.float32) -> tuple[int, ...]:
        points = _points(self.type_name)
        if place in points:
            return place
        best, least = None, np.finfo(f32).max
        for n in _neighbours(self.type_name, place):
            distance = f32(0)
            for i in range(4):
                difference = f32(f32(scale * f32(2 * points[n][i] + 1)) - self.x[4 * k + i])
                root = f32(np.sqrt(self.weights[4 * k + i]))
                distance = f32(distance + f32(f32(root * difference) * difference))
            if distance < least:
                best, least = n, distance
        assert best is not None, "ggml aborts here"
        return points[best]

    def sums(self, levels: list[tuple[int, ...]]) -> tuple[np.float32, np.float32]:
        sum_qx, sum_q2 = f32(0), f32(0)
        for j, (x, w) in enumerate(zip(self.x, self.weights, strict=True)):
            q = f32(2 * levels[j // 4][j % 4] + 1)
            sum_qx = f32(sum_qx + f32(f32(w * x) * q))
            sum_q2 = f32(sum_q2 + f32(f32(w * q) * q))
        return sum_qx, sum_q2

    def solve(self, steps: int, keep_on_grid: bool) -> np.float32:
        largest, best, points = max(self.x), f32(0), _points(self.type_name)
        scale, on_grid = f32(largest / f32(15)), [keep_on_grid] * 8
        for step in range(-steps, steps + 1):
            inverse = f32(f32(f32(15) + f32(f32(step) * f32(0.2))) / largest)
            places = [self.rounded(k, inverse) for k in range(8)]
            levels = [self.point(k, place, f32(f32(1) / inverse)) for k, place in enumerate(places)]
            sum_qx, sum_q2 = self.sums(levels)
            if sum_q2 > 0 and f32(sum_qx * sum_qx) > f32(best * sum_q2):
                scale = f32(sum_qx / sum_q2)
                best = f32(scale * sum_qx)
                self.levels, on_grid = levels, [place in points for place in places]
        if all(on_grid) or not scale > 0:
            return scale
        for k in range(8):
            if not (keep_on_grid and on_grid[k]):
                self.levels[k] = self.point(k, self.rounded(k, f32(f32(1) / scale)), scale)
        sum_qx, sum_q2 = self.sums(self.levels)
        return f32(sum_qx / sum_q2) if sum_q2 > 0 else scale


def _iq3_groups(row: np.ndarray, weights: Weights) -> list[list[tuple[np.ndarray, list[np.float32]]]]:
    """For each block its eight groups and their weights."""
    blocks = []
    for start in range(0, len(row), 256):
        block = row[start : start + 256]
        weight = smoothed_weights(
            block, None if weights is None else weights[start : start + 256], f32(2 / 256)
        )
        blocks.append([(block[s : s + 32], weight[s : s + 32]) for s in range(0, 256, 32)])
    return blocks


def _scale_numbers(scales: list[np.float32]) -> list[int]:
    inverse = f32(f32(1) / f32(max(scales) / f32(31)))
    return [max(0, min(15, nearest_int(f32(f32(0.5) * f32(f32(inverse * s) - f32(1)))))) for s in scales]


def even_signs(x: np.ndarray, weights: list[np.float32]) -> tuple[list[np.float32], int]:
    """Eight magnitudes and seven bits of signs; the value that matters least makes their number even."""
    bits, values = 0, []
    for i, value in enumerate(x):
        bits |= (not value >= 0) << i
        values.append(value if value >= 0 else f32(-value))
    if bits.bit_count() % 2:
        costs = [f32(f32(w * value) * value) for w, value in zip(weights, x, strict=True)]
        least = costs.index(min(costs))
        values[least] = f32(-values[least])
        bits ^= 1 << least
    return values, bits & 127


def iq3_xxs_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    return b"".join(_iq3_xxs_block(groups) for groups in _iq3_groups(row, weights))


def _iq3_xxs_block(groups: list[tuple[np.ndarray, list[np.float32]]]) -> bytes:
    scales, numbers, tails = [f32(0)] * 8, bytearray(64), [0] * 8
    for g, (x, w) in enumerate(groups):
        parts = [even_signs(x[s : s + 8], w[s : s + 8]) for s in range(0, 32, 8)]
        group = Group("IQ3_XXS", [value for values, _ in parts for value in values], w)
        if max(group.x) < f32(1e-8):
            continue
        scale = group.solve(15, keep_on_grid=True)
        scales[g] = abs(scale)
        numbers[8 * g : 8 * g + 8] = bytes(_points("IQ3_XXS").index(point) for point in group.levels)
        for k, (_, bits) in enumerate(parts):
            tails[g] |= (bits ^ 127 if scale < 0 else bits) << 7 * k
    if not max(scales):
        return bytes(98)
    tails = [tail | number << 28 for tail, number in zip(tails, _scale_numbers(scales), strict=True)]
    return half(f32(f32(max(scales) / f32(31)) * f32(1.0125))) + bytes(numbers) + struct.pack("<8I", *tails)


def iq3_s_bytes(row: np.ndarray, weights: Weights = None) -> bytes:
    return b"".join(_iq3_s_block(groups) for groups in _iq3_groups(row, weights))


def _iq3_s_block(groups: list[tuple[np.ndarray, list[np.float32]]]) -> bytes:
    scales, numbers, ninth, signs = [f32(0)] * 8, b"", [0] * 8, b""
    for g, (x, w) in enumerate(groups):
        if not np.any(x):
            continue
        group = Group("IQ3_S", [f32(abs(value)) for value in x], w)
        scale = group.solve(9, keep_on_grid=False)
        scales[g] = abs(scale)
        found = [_points("IQ3_S").index(point) for point in group.levels]
        numbers += bytes(number & 255 for number in found)
        ninth[g] = sum((number >> 8) << k for k, number in enumerate(found))
        signs += struct.pack("<I", sum(((value < 0) ^ (scale < 0)) << j for j, value in enumerate(x)))
    # Groups that are all zero leave no gap: those behind them are moved up, as ggml does.
    body = numbers.ljust(64, b"\0") + bytes(ninth) + signs.ljust(32, b"\0")
    if not max(scales):
        return bytes(2) + body + bytes(4)
    stored = _scale_numbers(scales)
    packed = bytes(stored[i] | stored[i + 1] << 4 for i in range(0, 8, 2))
    return half(f32(f32(max(scales) / f32(31)) * f32(1.033))) + body + packed


QUANTIZERS: dict[str, Callable[..., bytes]] = {
    "IQ4_NL": iq4_nl_bytes,
    "IQ4_XS": iq4_xs_bytes,
    "IQ3_XXS": iq3_xxs_bytes,
    "IQ3_S": iq3_s_bytes,
}
