"""The searches of the IQ2 types in machine code: 32 runs of 16 or 32 values at once, one in each lane.

What is computed is told in conversion/quants/lattice.py. Trying a scale has three parts: the digits of all runs, lane
by lane; for each group beside the grid its best neighbour, sixteen neighbours at a time (kernels/lattice.py); and the
sums of the fit, again lane by lane.
"""

from typing import Any, NamedTuple

import numpy as np

from conversion.quants.kernels.compiling import allocating, inner
from conversion.quants.kernels.lanes import (
    WIDTH,
    larger,
    load,
    nearest,
    root,
    select,
    smaller,
    splat,
    splat_int,
    store,
    to_float,
    transpose,
)
from conversion.quants.kernels.lattice import nearest as nearest_whole
from conversion.quants.kernels.lattice import neighbour

f32 = np.float32
BLOCK = 256


class Strip(NamedTuple):
    """Scratch for 32 runs; a row is one number of each run: x[32 * e + lane] is element e of run `lane`.

    x, weight, roots: a row for each element; `roots` are of the weights. runs: two times 32 floats for each run, its
    elements of `x` and of `roots`, for the search among neighbours. codes: a row for each group; `beside`: whether
    it was beside the grid. The rest are single rows; `is_live`: 0 for runs that count as zeros.
    """

    starts: np.ndarray
    x: np.ndarray
    weight: np.ndarray
    roots: np.ndarray
    runs: np.ndarray
    codes: np.ndarray
    signs: np.ndarray
    beside: np.ndarray
    power: np.ndarray
    level: np.ndarray
    scale: np.ndarray
    is_live: np.ndarray
    is_aborted: np.ndarray


@allocating
def make_strip(size: int) -> Any:
    return Strip(
        np.empty(WIDTH, np.int64),
        np.empty(size * WIDTH, np.float32),
        np.empty(size * WIDTH, np.float32),
        np.empty(size * WIDTH, np.float32),
        np.empty(2 * WIDTH * WIDTH, np.float32),
        np.empty(size // 8 * WIDTH, np.int32),
        np.empty(size // 8 * WIDTH, np.int32),
        np.empty(size // 8 * WIDTH, np.int32),
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.int32),
        np.empty(WIDTH, np.int32),
    )


@inner
def fill_strip(strip: Any, values: np.ndarray, first: int, size: int, factor: float) -> None:
    """Transposes the runs from number `first` on and gives each the mean square of its block, times `factor`.

    Where there are fewer runs the last is repeated: its lanes are worked on and left.
    """
    n_runs = values.size // size
    for lane in range(WIDTH):
        strip.starts[lane] = size * min(first + lane, n_runs - 1)
    for offset in range(0, size, 16):
        transpose(values, strip.starts, offset, strip.x, offset * WIDTH)
    per_block = BLOCK // size
    for block in range(WIDTH // per_block):
        start = min((first // per_block + block) * BLOCK, values.size - BLOCK)
        total = f32(0)
        for i in range(BLOCK):
            total += values[start + i] * values[start + i]
        for lane in range(per_block):
            strip.power[block * per_block + lane] = factor * total / f32(BLOCK)


@inner
def weigh_by_importance(strip: Any, weights: np.ndarray) -> None:
    """Fills `weight`: the importance of each value times the root of its square and the power of its block."""
    size = strip.x.size // WIDTH
    for lane in range(WIDTH):
        strip.starts[lane] %= weights.size
    for offset in range(0, size, 16):
        transpose(weights, strip.starts, offset, strip.weight, offset * WIDTH)
    power = load(strip.power, 0)
    for e in range(size):
        x = load(strip.x, e * WIDTH)
        store(strip.weight, e * WIDTH, load(strip.weight, e * WIDTH) * root(power + x * x))


@inner
def take_signs(strip: Any, is_even: bool) -> None:
    """Leaves magnitudes in `x` and the signs of each group in `signs`; see lattice.even_magnitudes for `is_even`."""
    zero, one, none = splat(0.0), splat_int(1), splat_int(0)
    for group in range(strip.signs.size // WIDTH):
        signs, count, cheapest = none, none, none
        least = zero
        for i in range(8):
            at = (8 * group + i) * WIDTH
            x, weight = load(strip.x, at), load(strip.weight, at)
            is_negative = x < zero
            signs = signs | select(is_negative, splat_int(1 << i), none)
            count = count + select(is_negative, one, none)
            cost = weight * x * x
            is_less = cost < least if i else is_negative | (x >= zero)
            least = select(is_less, cost, least)
            cheapest = select(is_less, splat_int(1 << i), cheapest)
            store(strip.x, at, select(is_negative, zero - x, x))
        if is_even:
            flipped = select((count & one) == one, cheapest, none)
            for i in range(8):
                at = (8 * group + i) * WIDTH
                x = load(strip.x, at)
                store(strip.x, at, select((flipped & splat_int(1 << i)) == none, x, zero - x))
            signs = (signs | flipped) - (signs & flipped)
        store(strip.signs, group * WIDTH, signs)


@inner
def prepare_runs(strip: Any, zero_below: float) -> Any:
    """Fills `roots`, `runs`, `level` (the largest value) and `is_live`; gives back the largest values."""
    size = strip.x.size // WIDTH
    largest = load(strip.x, 0)
    for e in range(size):
        store(strip.roots, e * WIDTH, root(load(strip.weight, e * WIDTH)))
        largest = larger(load(strip.x, e * WIDTH), largest)
    for e in range(WIDTH):
        strip.starts[e] = e % size * WIDTH
    half = WIDTH // 2
    for first in (0, half):
        transpose(strip.x, strip.starts, first, strip.runs, first * WIDTH)
        transpose(strip.roots, strip.starts, first, strip.runs, (WIDTH + first) * WIDTH)
    store(strip.is_live, 0, select(largest < splat(zero_below), splat_int(0), splat_int(1)))
    store(strip.is_aborted, 0, splat_int(0))
    return largest


@inner
def round_digits(strip: Any, inverse: Any) -> None:
    """Fills `codes` with the digits of the levels 1, 3 and 5 nearest to inverse * x."""
    half, one, none, two = splat(0.5), splat(1.0), splat_int(0), splat_int(2)
    for group in range(strip.codes.size // WIDTH):
        code = none
        for i in range(8):
            x = load(strip.x, (8 * group + i) * WIDTH)
            digit = smaller(larger(nearest(half * (inverse * x - one)), none), two)
            code = code | (digit << splat_int(2 * i))
        store(strip.codes, group * WIDTH, code)


@inner
def find_points(strip: Any, entry: np.ndarray, points: np.ndarray, scale: Any) -> None:
    """Puts the best neighbour in the place of every code beside the grid, and fills `beside`."""
    store(strip.level, 0, scale)
    for group in range(strip.codes.size // WIDTH):
        for lane in range(WIDTH):
            at = group * WIDTH + lane
            found = entry[strip.codes[at]]
            strip.beside[at] = found < 0 and strip.is_live[lane] != 0
            if strip.beside[at]:
                low, x = strip.level[lane], lane * WIDTH + 8 * group
                levels = (low, f32(3) * low, f32(5) * low)
                best = neighbour(points, -1 - found, strip.runs, x, x + WIDTH * WIDTH, levels)
                strip.codes[at] = max(best, 0)
                strip.is_aborted[lane] |= best < 0


@inner
def fit(strip: Any) -> Any:
    """(sum of weight * x * level, sum of weight * level * level) of each lane, for the codes there are."""
    sum_x, sum_square, one, three = splat(0.0), splat(0.0), splat_int(1), splat_int(3)
    for group in range(strip.codes.size // WIDTH):
        code = load(strip.codes, group * WIDTH)
        for i in range(8):
            at = (8 * group + i) * WIDTH
            digit = (code >> splat_int(2 * i)) & three
            level = to_float(digit + digit + one)
            weight = load(strip.weight, at)
            sum_x = sum_x + weight * load(strip.x, at) * level
            sum_square = sum_square + weight * level * level
    return sum_x, sum_square


@inner
def search_runs_of_16(strip: Any, entry: np.ndarray, points: np.ndarray, zero_below: float) -> None:
    """Fills `scale`, which may be negative, and `codes`; see lattice.search_runs_of_16."""
    largest = prepare_runs(strip, zero_below)
    zero, one, none = splat(0.0), splat(1.0), splat_int(0)
    scale, best = largest / splat(5.0), zero
    first, second, first_beside, second_beside = none, none, none, none
    for step in range(-9, 11):
        # The last round is by the scale found, for groups that were beside the grid. It is in the loop so that its code
        # is there, and compiled, only once.
        is_last = step == 10
        inverse = one / scale if is_last else splat(f32(5) + f32(step) * f32(0.1)) / largest
        round_digits(strip, inverse)
        again, again_second = (
            (scale > zero) & (first_beside != none),
            (scale > zero) & (second_beside != none),
        )
        if is_last:
            store(strip.codes, 0, select(again, load(strip.codes, 0), first))
            store(strip.codes, WIDTH, select(again_second, load(strip.codes, WIDTH), second))
        find_points(strip, entry, points, scale if is_last else one / inverse)
        sum_x, sum_square = fit(strip)
        better = sum_square > zero
        if is_last:
            better = better & (again | again_second)
        else:
            better = better & (sum_x * sum_x > best * sum_square)
        scale = select(better, sum_x / sum_square, scale)
        best = select(better, scale * sum_x, best)
        first, second = (
            select(better, load(strip.codes, 0), first),
            select(better, load(strip.codes, WIDTH), second),
        )
        first_beside = select(better, load(strip.beside, 0), first_beside)
        second_beside = select(better, load(strip.beside, WIDTH), second_beside)
    store(strip.scale, 0, scale)


@inner
def finish(strip: Any, all_signs: int) -> None:
    """Makes every scale positive, turning the signs with it; runs of zeros get the scale, the codes and the signs 0."""
    zero, none, every = splat(0.0), splat_int(0), splat_int(all_signs)
    is_live, scale = load(strip.is_live, 0) != none, load(strip.scale, 0)
    is_negative, is_number = scale < zero, (scale < zero) | (scale >= zero)
    aborted = load(strip.is_aborted, 0)
    store(strip.is_aborted, 0, select(is_live, select(is_number, aborted, splat_int(1)), none))
    store(strip.scale, 0, select(is_live, select(is_negative, zero - scale, scale), zero))
    for at in range(0, strip.codes.size, WIDTH):
        signs = load(strip.signs, at) & every
        store(strip.signs, at, select(is_live, select(is_negative, every - signs, signs), none))
        store(strip.codes, at, select(is_live, load(strip.codes, at), none))


@inner
def put_scales(strip: Any, lane: int, per_block: int, scales: np.ndarray) -> float:
    """Fills `scales` with the four bits of each run of the block that begins at `lane`; gives back its d.

    0 if all of them are zero.
    """
    largest = f32(0)
    for run in range(per_block):
        largest = max(largest, strip.scale[lane + run])
    d = largest / f32(31)
    inverse = f32(1) / d
    for run in range(per_block):
        step = nearest_whole(f32(0.5) * (inverse * strip.scale[lane + run] - f32(1)))
        scales[run] = max(0, min(15, step)) if largest != 0 else 0
    return d


@inner
def first_aborted(strip: Any, n_runs: int, per_block: int) -> int:
    """The first block of the strip that ggml aborts on, or -1."""
    for lane in range(min(n_runs, WIDTH)):
        if strip.is_aborted[lane]:
            return lane // per_block
    return -1
