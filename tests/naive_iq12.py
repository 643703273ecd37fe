"""Slow, obvious twins of the IQ1 and IQ2 types: one value after the other, in the order of ggml's loops."""

import numpy as np


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
