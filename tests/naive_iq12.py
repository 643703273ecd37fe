"""Slow, obvious twins of the IQ1 and IQ2 types: one value after the other, in the order of ggml's loops.

Every operation is one on float32, rounded by itself. A block here is 256 values; a run is the part of it with a scale.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np

from conversion.quants import grids

f32 = np.float32
Floats = np.ndarray
Cut = tuple[np.float32, np.float32, int, int, int]
FLT_MAX = np.finfo(f32).max
LEVELS = {1: [f32(-0.875), f32(0.125), f32(1.125)], -1: [f32(-1.125), f32(-0.125), f32(0.875)]}


def neighbours(points: list[tuple[int, ...]], place: tuple[int, ...], n_distances: int) -> list[int]:
    """Numbers of the grid points nearest to `place`, by distance and number, ties of the last distance included."""
    ranked = sorted(
        (sum((a - b) ** 2 for a, b in zip(point, place, strict=True)), n) for n, point in enumerate(points)
    )
    nearest = sorted({distance for distance, _ in ranked})[:n_distances]
    return [n for distance, n in ranked if distance <= nearest[-1]]


def digits_of(code: int, size: int, digit_bits: int) -> tuple[int, ...]:
    return tuple(code >> (digit_bits * k) & ((1 << digit_bits) - 1) for k in range(size))


def points_of(digits: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(digit) for digit in point) for point in digits]


@cache
def points(type_name: str) -> list[tuple[int, ...]]:
    return points_of(grids.grid(type_name).digits)


@cache
def numbers(type_name: str) -> dict[tuple[int, ...], int]:
    return {point: number for number, point in enumerate(points(type_name))}


@cache
def near(type_name: str, digits: tuple[int, ...]) -> list[int]:
    return neighbours(points(type_name), digits, grids.N_DISTANCES[type_name])


def nearest_int(value: np.float32) -> int:
    bits = int((f32(value) + f32(12582912)).view(np.int32))
    return (bits & 0x007FFFFF) - 0x00400000


def digit(value: np.float32) -> int:
    return max(0, min(2, nearest_int(f32(0.5) * (value - f32(1)))))


def total(terms: Iterator[np.float32]) -> np.float32:
    result = f32(0)
    for term in terms:
        result += term
    return result


def to_point(type_name: str, digits: list[int], x: Floats, w: Floats, levels: list[np.float32]) -> int:
    """The number of the point for a group: itself if it is one, else its best neighbour."""
    if tuple(digits) in numbers(type_name):
        return numbers(type_name)[tuple(digits)]
    best, found = FLT_MAX, -1
    for number in near(type_name, tuple(digits)):
        distance = f32(0)
        for i, level in enumerate(points(type_name)[number]):
            difference = levels[level] - x[i]
            distance += w[i] * difference * difference
        if distance < best:
            best, found = distance, number
    assert found >= 0
    return found


def to_points(type_name: str, digits: list[int], x: Floats, w: Floats, scale: np.float32) -> list[int]:
    levels = [scale * f32(level) for level in (1, 3, 5)]
    roots = np.sqrt(w)
    return [
        to_point(type_name, digits[at : at + 8], x[at : at + 8], roots[at : at + 8], levels)
        for at in range(0, len(digits), 8)
    ]


def fit(type_name: str, found: list[int], x: Floats, w: Floats) -> tuple[np.float32, np.float32]:
    level = [f32(2 * d + 1) for number in found for d in points(type_name)[number]]
    return (
        total(w[i] * x[i] * level[i] for i in range(len(x))),
        total(w[i] * level[i] * level[i] for i in range(len(x))),
    )


def weights(block: Floats, importance: Floats, factor: int) -> Floats:
    power = f32(factor) * total(x * x for x in block) / f32(256)
    return np.array([q * np.sqrt(power + x * x) for q, x in zip(importance, block, strict=True)], dtype=f32)


def without_signs(run: Floats, w: Floats, is_even: bool) -> tuple[Floats, list[int]]:
    x, signs = np.abs(run), []
    for at in range(0, len(run), 8):
        bits = sum(1 << i for i in range(8) if run[at + i] < 0)
        if is_even and bits.bit_count() % 2:
            costs = [w[at + i] * run[at + i] * run[at + i] for i in range(8)]
            cheapest = costs.index(min(costs))
            x[at + cheapest] = -x[at + cheapest]
            bits ^= 1 << cheapest
        signs.append(bits)
    return x, signs


def search_16(type_name: str, x: Floats, w: Floats, zero_below: float) -> tuple[np.float32, list[int]] | None:
    largest = x.max()
    if largest < f32(zero_below):
        return None
    best, scale, found, beside = f32(0), largest / f32(5), [0, 0], [False, False]
    for step in range(-9, 10):
        inverse = (f32(5) + f32(step) * f32(0.1)) / largest
        digits = [digit(inverse * value) for value in x]
        tried = to_points(type_name, digits, x, w, f32(1) / inverse)
        sum_x, sum_square = fit(type_name, tried, x, w)
        if sum_square > 0 and sum_x * sum_x > best * sum_square:
            scale = sum_x / sum_square
            best, found = scale * sum_x, tried
            beside = [tuple(digits[at : at + 8]) not in numbers(type_name) for at in (0, 8)]
    if any(beside) and scale > 0:
        again = to_points(type_name, [digit(f32(1) / scale * value) for value in x], x, w, scale)
        found = [
            new if was_beside else old for new, old, was_beside in zip(again, found, beside, strict=True)
        ]
        sum_x, sum_square = fit(type_name, found, x, w)
        scale = sum_x / sum_square if sum_square > 0 else scale
    return scale, found


def steps(scales: list[np.float32], d: np.float32, most: int) -> list[int]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = f32(1) / d
        return [max(0, min(most, nearest_int(f32(0.5) * (inverse * scale - f32(1))))) for scale in scales]


def half(value: np.float32) -> bytes:
    return np.array(value, dtype="<f2").tobytes()


def iq2_16(
    type_name: str, block: Floats, w: Floats, zero_below: float, is_even: bool
) -> tuple[list[np.float32], list[int], list[int]]:
    """(scales, points, signs) of a block in runs of sixteen."""
    scales, found_points, all_signs = [], [], []
    for at in range(0, 256, 16):
        x, signs = without_signs(block[at : at + 16], w[at : at + 16], is_even)
        found = search_16(type_name, x, w[at : at + 16], zero_below)
        scale, numbers_of_run = found or (f32(0), [0, 0])
        if scale < 0:
            scale, signs = -scale, [~bits & 255 for bits in signs]
        scales.append(scale)
        found_points += numbers_of_run
        all_signs += signs if found else [0, 0]
    return scales, found_points, all_signs


def quantize_iq2_xs(block: Floats, importance: Floats) -> bytes:
    w = weights(block, importance, 1)
    scales, found, signs = iq2_16("IQ2_XS", block, w, 1e-15, True)
    if max(scales) == 0:
        return bytes(74)
    d = max(scales) / f32(31)
    step = steps(scales, d, 15)
    codes = [number | (bits & 127) << 9 for number, bits in zip(found, signs, strict=True)]
    nibbles = bytes(step[2 * i] | step[2 * i + 1] << 4 for i in range(8))
    return half(d) + np.array(codes, dtype="<u2").tobytes() + nibbles


def quantize_iq2_s(block: Floats, importance: Floats | None) -> bytes:
    if importance is None:
        power = f32(2) * total(x * x for x in block) / f32(256)
        w = np.array([f32(0.25) * power + x * x for x in block], dtype=f32)
    else:
        w = weights(block, importance, 2)
    scales, found, signs = iq2_16("IQ2_S", block, w, 1e-8, False)
    d = max(scales) / f32(31)
    step = steps(scales, d, 15) if d else [0] * 16
    high = bytes(sum((found[4 * i + j] >> 8) << (2 * j) for j in range(4)) for i in range(8))
    nibbles = bytes(step[2 * i] | step[2 * i + 1] << 4 for i in range(8))
    return half(d * f32(0.9875)) + bytes(n & 255 for n in found) + bytes(signs) + high + nibbles


def fit_to_4(x: Floats, w: Floats) -> np.float32:
    """The scale of ggml's make_qp_quants for numbers 0 … 4; numbers kept in a byte wrap round."""
    largest = x.max()
    if largest < f32(1e-15):
        return f32(0)

    def error(inverse: np.float32, level: Callable[[int], int]) -> np.float32:
        scale = f32(1) / inverse
        differences = [value - scale * f32(level(nearest_int(inverse * value))) for value in x]
        return total(weight * d * d for weight, d in zip(w, differences, strict=True))

    inverse = f32(4) / largest
    least = error(inverse, lambda level: level & 255)
    for step in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = (f32(0.1) * f32(step) + f32(4)) / largest
        worth = error(tried, lambda level: min(4, level))
        if worth < least:
            least, inverse = worth, tried
    level = [min(4, nearest_int(inverse * value)) for value in x]
    sum_x = total(w[i] * x[i] * f32(level[i]) for i in range(len(x)))
    sum_square = total(w[i] * f32(level[i]) * f32(level[i]) for i in range(len(x)))
    level = [number & 255 for number in level]
    for _ in range(5):
        for i in range(len(x)):
            rest_x = sum_x - w[i] * x[i] * f32(level[i])
            rest_square = sum_square - w[i] * f32(level[i]) * f32(level[i])
            if not (rest_x > 0 and rest_square > 0):
                continue
            moved = min(4, nearest_int(x[i] * rest_square / rest_x))
            new_x, new_square = (
                rest_x + w[i] * x[i] * f32(moved),
                rest_square + w[i] * f32(moved) * f32(moved),
            )
            if moved != level[i] and new_x * new_x * sum_square > sum_x * sum_x * new_square:
                level[i], sum_x, sum_square = moved & 255, new_x, new_square
    return sum_x / sum_square if sum_square > 0 else f32(0)


def search_32(x: Floats, w: Floats) -> tuple[np.float32, list[int]] | None:
    scale = fit_to_4(x, w)
    reach = scale * f32(3)
    if x.max() < f32(1e-15) or reach <= 0:
        return None
    best, found = f32(0), [0] * 4
    for step in range(-6, 7):
        inverse = (f32(5) + f32(step) * f32(0.1)) / reach
        tried = to_points("IQ2_XXS", [digit(inverse * value) for value in x], x, w, f32(1) / inverse)
        sum_x, sum_square = fit("IQ2_XXS", tried, x, w)
        if sum_square > 0 and sum_x * sum_x > best * sum_square:
            scale = sum_x / sum_square
            best, found = scale * sum_x, tried
    if scale > 0:
        found = to_points("IQ2_XXS", [digit(f32(1) / scale * value) for value in x], x, w, scale)
        sum_x, sum_square = fit("IQ2_XXS", found, x, w)
        scale = sum_x / sum_square if sum_square > 0 else scale
    return scale, found


def quantize_iq2_xxs(block: Floats, importance: Floats) -> bytes:
    w = weights(block, importance, 1)
    scales, parts = [], []
    for at in range(0, 256, 32):
        x, signs = without_signs(block[at : at + 32], w[at : at + 32], True)
        found = search_32(x, w[at : at + 32])
        scale, run_points = found or (f32(0), [0] * 4)
        if scale < 0:
            scale, signs = -scale, [~bits for bits in signs]
        scales.append(scale)
        parts.append(
            (run_points, sum((bits & 127) << (7 * k) for k, bits in enumerate(signs)) if found else 0)
        )
    if max(scales) == 0:
        return bytes(66)
    d = max(scales) / f32(31)
    result = half(d)
    for step, (run_points, signs_of_run) in zip(steps(scales, d, 15), parts, strict=True):
        result += bytes(run_points) + (signs_of_run | step << 28).to_bytes(4, "little")
    return result


def cut(x: Floats, w: Floats, order: list[int], ways: list[list[int]]) -> Iterator[Cut]:
    """(sum of weight * level * x, sum of weight * level ** 2, low, middle, way) of every cut, in ggml's order.

    ways: for each way to shift, the shift of every group.
    """
    size = len(x)
    for low in range(size + 1):
        for middle in range(low, size + 1):
            place = [0 if j < low else 1 if j < middle else 2 for j in range(size)]
            for number, way in enumerate(ways):
                levels = [LEVELS[way[order[j] // 8]][place[j]] for j in range(size)]
                yield (
                    total(w[order[j]] * levels[j] * x[order[j]] for j in range(size)),
                    total(w[order[j]] * levels[j] * levels[j] for j in range(size)),
                    low, middle, number,
                )  # fmt: skip


def cut_by_running_sums(x: Floats, w: Floats, order: list[int]) -> Iterator[Cut]:
    """As `cut`, for both ways to shift a whole run, with the sums of IQ1_S: of each part first."""
    size = len(x)
    sum_x, sum_w = [f32(0)], [f32(0)]
    for j in order:
        sum_x.append(sum_x[-1] + w[j] * x[j])
        sum_w.append(sum_w[-1] + w[j])
    for low in range(size + 1):
        for middle in range(low, size + 1):
            part_x = sum_x[low], sum_x[middle] - sum_x[low], sum_x[size] - sum_x[middle]
            part_w = sum_w[low], sum_w[middle] - sum_w[low], sum_w[size] - sum_w[middle]
            for number, shift in enumerate((1, -1)):
                levels = LEVELS[shift]
                yield (
                    total(part_x[k] * levels[k] for k in range(3)),
                    total(part_w[k] * levels[k] * levels[k] for k in range(3)),
                    low, middle, number,
                )  # fmt: skip


def search_ternary(
    x: Floats, w: Floats, zero_below: float, ways: list[list[int]], is_summed_by_part: bool
) -> tuple[np.float32, int, list[int]] | None:
    """(scale, way, points) of a run, or None where it counts as zeros."""
    if np.abs(x).max() < f32(zero_below):
        return None
    order = sorted(range(len(x)), key=lambda j: x[j])
    best, scale, split = -FLT_MAX, f32(0), None
    cuts = cut_by_running_sums(x, w, order) if is_summed_by_part else cut(x, w, order, ways)
    for sum_x, sum_square, low, middle, way in cuts:
        if sum_square > 0 and sum_x * sum_x > best * sum_square:
            scale = sum_x / sum_square
            best, split = scale * sum_x, (low, middle, way)
    if split is None:
        return None
    digits = [0] * len(x)
    for place, j in enumerate(order):
        digits[j] = 0 if place < split[0] else 1 if place < split[1] else 2
    way = split[2]
    if scale < 0:
        scale, way, digits = -scale, len(ways) - 1 - way, [2 - d for d in digits]
    levels = [LEVELS[shift] for shift in ways[way]]
    found = [
        to_point("IQ1_S", digits[8 * k : 8 * k + 8], x[8 * k : 8 * k + 8], w[8 * k : 8 * k + 8],
                 [scale * level for level in levels[k]])
        for k in range(len(x) // 8)
    ]  # fmt: skip
    on_grid = [points("IQ1_S")[number] for number in found]
    if [d for point in on_grid for d in point] != digits:
        level = [levels[k][d] for k, point in enumerate(on_grid) for d in point]
        sum_x = total(w[i] * level[i] * x[i] for i in range(len(x)))
        sum_square = total(w[i] * level[i] * level[i] for i in range(len(x)))
        scale = sum_x / sum_square if sum_x > 0 and sum_square > 0 else scale
    return scale, way, found


def quantize_iq1_s(block: Floats, importance: Floats) -> bytes:
    w = weights(block, importance, 2)
    ways = [[1] * 4, [-1] * 4]
    runs = [
        search_ternary(block[at : at + 32], w[at : at + 32], 1e-12, ways, True) or (f32(0), 0, [0] * 4)
        for at in range(0, 256, 32)
    ]
    d = max(scale for scale, _, _ in runs) / f32(15)
    step = steps([scale for scale, _, _ in runs], d, 7) if d else [0] * 8
    low = bytes(number & 255 for _, _, found in runs for number in found)
    words = []
    for (_, way, found), number in zip(runs, step, strict=True):
        top = (number | way << 3) << 12 if d else 0
        words.append(top | sum((point >> 8) << (3 * k) for k, point in enumerate(found)))
    return half(d * f32(1.125)) + low + np.array(words, dtype="<u2").tobytes()


def quantize_iq1_m(block: Floats, importance: Floats | None) -> bytes:
    w = block * block if importance is None else weights(block, importance, 2)
    ways = [list(way) for way in product((1, -1), repeat=2)]
    runs = [
        search_ternary(block[at : at + 16], w[at : at + 16], 1e-7, ways, False) or (f32(0), 0, [0] * 2)
        for at in range(0, 256, 16)
    ]
    d = max(scale for scale, _, _ in runs) / f32(15)
    step = steps([scale for scale, _, _ in runs], d, 7) if d else [0] * 16
    is_empty = d == 0
    level = [
        LEVELS[ways[way][k]][digit] * f32(2 * number + 1)
        for (_, way, found), number in zip(runs, step, strict=True)
        for k, point in enumerate(found)
        for digit in points("IQ1_S")[point]
    ]
    sum_x = total(w[i] * level[i] * block[i] for i in range(256))
    sum_square = total(w[i] * level[i] * level[i] for i in range(256))
    d = d if is_empty or not sum_square > 0 else sum_x / sum_square
    bits = 0 if is_empty else int(np.array(d * f32(1.1125), dtype="<f2").view("<u2"))
    low = bytes(number & 255 for _, _, found in runs for number in found)
    signs = [[0, 0] if is_empty else [8 * (shift < 0) for shift in ways[way]] for _, way, _ in runs]
    high = bytes(
        found[0] >> 8 | sign[0] | (found[1] >> 8 | sign[1]) << 4
        for (_, _, found), sign in zip(runs, signs, strict=True)
    )
    words = [
        sum(step[4 * k + j] << (3 * j) for j in range(4)) | (bits >> (4 * k) & 15) << 12 for k in range(4)
    ]
    return low + high + np.array(words, dtype="<u2").tobytes()


QUANTIZERS: dict[str, Callable[..., bytes]] = {
    "IQ2_XXS": quantize_iq2_xxs,
    "IQ2_XS": quantize_iq2_xs,
    "IQ2_S": quantize_iq2_s,
    "IQ1_S": quantize_iq1_s,
    "IQ1_M": quantize_iq1_m,
}
"""One block, float32 (256,), and its importance or None -> its bytes."""
