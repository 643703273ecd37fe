"""Weights as models have them, for properties."""

import numpy as np


def make_rows(seed: int, n_rows: int, spread: int, edits: dict[int, float], n_cols: int = 256) -> np.ndarray:
    """Every 32 values at a scale of their own, a tenth of these runs zero, then some values replaced."""
    chance = np.random.default_rng(seed)
    n_runs = n_rows * n_cols // 32
    scales = 2.0 ** chance.integers(-spread, 2, n_runs)
    values = (chance.normal(0, 1, (n_runs, 32)) * scales[:, None]).astype(np.float32)
    values[chance.random(n_runs) < 0.1] = 0
    for place, value in edits.items():
        values.flat[place % values.size] = value
    return values.reshape(n_rows, n_cols)
