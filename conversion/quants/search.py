"""The search for one scale per group: the best of nineteen, as ggml makes it.

(ggml-quants.c: make_qx_quants with rmse_type 1; bit for bit.) Groups are worked on side by side; within each, sums run
over its elements in order, every step rounded to float32.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats
from conversion.quants.rounding import nearest_int

GROUP_MAX_EPS = np.float32(1e-15)
"""A group whose largest magnitude is smaller counts as all zero."""

Lanes = npt.NDArray[np.float32]


def search_scales(groups: Floats, n_max: int, weights: Floats | None = None) -> tuple[Lanes, Bytes]:
    """The scale of each group, and its quants in 0 … 2 * n_max - 1 (value = scale * (quant - n_max)).

    groups: float32 (n_groups, size); weights the same shape, or None for x * x. Quants of an all-zero group are 0,
    as in ggml.
    """
    elements = np.ascontiguousarray(groups.T)  # one row per element: the lanes of a sum lie side by side
    weight = elements * elements if weights is None else np.ascontiguousarray(weights.T)
    largest = _first_largest(groups)
    is_zero = np.abs(largest) < GROUP_MAX_EPS
    inverse = np.float32(-n_max) / largest
    quants, sum_lx, sum_l2 = _try(elements, weight, inverse, n_max)
    scale = np.where(sum_l2 != 0, sum_lx / sum_l2, np.float32(0))
    best = scale * sum_lx
    for step in range(-9, 10):
        if step == 0:
            continue
        # C evaluates nmax + 0.1f * step in float32, then negates and divides.
        inverse = -(np.float32(n_max) + np.float32(0.1) * np.float32(step)) / largest
        candidate, sum_lx, sum_l2 = _try(elements, weight, inverse, n_max)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = np.where(better, sum_lx / sum_l2, scale)
        best = np.where(better, scale * sum_lx, best)
        np.copyto(quants, candidate, where=better)
    quants += np.int32(n_max)
    quants[:, is_zero] = 0
    return np.where(is_zero, np.float32(0), scale), np.ascontiguousarray(quants.T).astype(np.uint8)


def _first_largest(groups: Floats) -> Lanes:
    first = np.abs(groups).argmax(axis=1)[:, None]
    largest: Lanes = np.take_along_axis(groups, first, axis=1)[:, 0]
    return largest


def _try(
    elements: Floats, weight: Floats, inverse: Lanes, n_max: int
) -> tuple[npt.NDArray[np.int32], Lanes, Lanes]:
    quants = np.clip(nearest_int(elements * inverse), -n_max, n_max - 1)
    levels = quants.astype(np.float32)
    sum_lx = np.zeros(elements.shape[1], dtype=np.float32)
    sum_l2 = np.zeros(elements.shape[1], dtype=np.float32)
    products, squares = weight * elements * levels, weight * levels * levels
    for product, square in zip(products, squares, strict=True):
        sum_lx += product
        sum_l2 += square
    return quants, sum_lx, sum_l2
