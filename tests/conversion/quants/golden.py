"""Inputs of ggml's golden vectors, made again from a seed, and the vectors themselves.

Every float operation below is one IEEE binary32 operation, so any language can follow. PCG64's bit stream is frozen by
numpy's policy.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[2] / "fixtures" / "golden"
f32 = np.float32
_MAX = np.finfo(f32).max


@dataclass(frozen=True)
class Vector:
    type_name: str
    dist: str
    seed: int
    rows: int
    cols: int
    imatrix: str | None
    imatrix_seed: int
    sha256: str
    dequant_sha256: str
    status: str

    def __str__(self) -> str:
        return f"{self.type_name}-{self.dist}-{self.imatrix}-{self.rows}x{self.cols}"

    @property
    def values(self) -> np.ndarray:
        return distribution(self.dist, self.seed, self.rows, self.cols)

    @property
    def weights(self) -> np.ndarray | None:
        return importance(self.imatrix, self.imatrix_seed, self.cols) if self.imatrix else None


def vectors(*types: str) -> list[Vector]:
    return [Vector(name, *entry) for name in types for entry in _file(name)["entries"]]


def random_bytes(type_name: str) -> tuple[np.ndarray, str]:
    """Bytes that no quantiser made, and the digest of what ggml decodes them to."""
    (entry,) = _file(type_name)["random_bytes"]
    data = raw(entry["seed"], -(-entry["nbytes"] // 8)).astype("<u8").view(np.uint8)[: entry["nbytes"]]
    assert hashlib.sha256(data.tobytes()).hexdigest() == entry["bytes_sha256"]
    return data, entry["dequant_sha256"]


def digest_of_floats(values: np.ndarray) -> str:
    bits = values.astype("<f4").view(np.uint32).copy()
    bits[np.isnan(values)] = 0x7FC00000
    return hashlib.sha256(bits.tobytes()).hexdigest()


def raw(seed: int, n: int) -> np.ndarray:
    return np.random.PCG64(seed).random_raw(n)


def distribution(name: str, seed: int, rows: int, cols: int) -> np.ndarray:
    n = rows * cols
    r, i = raw(seed, n), np.arange(n)
    if name in _SCALES:
        values = _normal(r, _SCALES[name])
    else:
        values = np.broadcast_to(np.asarray(_MAKERS[name](r, i, cols), dtype=f32), (n,)).copy()
    if name in _NOT_FINITE:
        values[n // 2 + 3] = _NOT_FINITE[name]
    return values.astype(f32).reshape(rows, cols)


def importance(kind: str, seed: int, cols: int) -> np.ndarray:
    u = _u24(raw(seed, cols))
    w = u * u + f32(2.0**-10)
    columns = np.arange(cols)
    made = {
        "ones": np.ones(cols, dtype=f32),
        "squares": w,
        "wide": ((w * w) * w) * f32(1000),
        "zero_runs": np.where((columns // 32) % 3 == 2, f32(0), w),
    }
    return made[kind].astype(f32)


def _file(type_name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{type_name.lower()}.json").read_text())


def _normal(r: np.ndarray, std: float) -> np.ndarray:
    fields = sum(((r >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64) for k in range(4))
    return (fields - 131070).astype(f32) * f32(std / 37837.2)


def _u24(r: np.ndarray) -> np.ndarray:
    return (r >> np.uint64(40)).astype(f32) * f32(2.0**-24)


def _single_outlier(r: np.ndarray, i: np.ndarray, cols: int) -> np.ndarray:
    b = i // 256
    return np.where(i % 256 == (b * 37) % 256, np.where(b % 2 == 0, f32(100), f32(-100)), _normal(r, 0.001))


def _heavy(r: np.ndarray, i: np.ndarray, cols: int) -> np.ndarray:
    t = _normal(r, 1)
    return ((t * t) * t) * f32(0.01)


def _bf16(r: np.ndarray, i: np.ndarray, cols: int) -> np.ndarray:
    return (_normal(r, 0.02).view(np.uint32) & np.uint32(0xFFFF0000)).view(f32)


_SCALES = {
    "normal": 0.02, "normal1": 1.0, "large": 1500.0, "tiny_1e-6": 1e-6, "tiny_1e-9": 1e-9, "tiny_1e-14": 1e-14,
    "tiny_1e-20": 1e-20, "huge_1e8": 1e8, "huge_1e30": 1e30, "one_nan": 0.02, "one_inf": 0.02, "one_neg_inf": 0.02,
}  # fmt: skip
_NOT_FINITE = {"one_nan": np.nan, "one_inf": np.inf, "one_neg_inf": -np.inf}
_TOP_BIT = np.uint64(63)
_MAKERS = {
    "normal_bf16": _bf16,
    "heavy": _heavy,
    "single_outlier": _single_outlier,
    "outliers": lambda r, i, c: np.where(
        r % np.uint64(257) == 0, _normal(r, 0.02) * f32(32), _normal(r, 0.02)
    ),
    "uniform": lambda r, i, c: _u24(r) * f32(2) - f32(1),
    "zeros": lambda r, i, c: f32(0),
    "negzeros": lambda r, i, c: f32(-0.0),
    "const_pos": lambda r, i, c: f32(0.5),
    "const_neg": lambda r, i, c: f32(-0.7),
    "positive": lambda r, i, c: np.abs(_normal(r, 0.02)) + f32(0.001),
    "negative": lambda r, i, c: -(np.abs(_normal(r, 0.02)) + f32(0.001)),
    "offset": lambda r, i, c: _normal(r, 0.01) + f32(0.25),
    "one_nonzero": lambda r, i, c: np.where(i % 32 == (i // 32 * 7) % 32, _normal(r, 0.02), f32(0)),
    "sparse": lambda r, i, c: np.where(r % np.uint64(16) == 0, _normal(r, 0.02), f32(0)),
    "zero_blocks": lambda r, i, c: np.where(i // 32 % 3 == 1, f32(0), _normal(r, 0.02)),
    "grid8": lambda r, i, c: (
        (((r >> np.uint64(8)) % np.uint64(17)).astype(np.int64) - 8).astype(f32) * f32(0.125)
    ),
    "grid_fine": lambda r, i, c: (
        (((r >> np.uint64(8)) % np.uint64(255)).astype(np.int64) - 127).astype(f32) * f32(2.0**-7)
    ),
    "ramp": lambda r, i, c: (i % c - c // 2).astype(f32) * f32(2.0**-10),
    "alternating": lambda r, i, c: np.where(i % 2 == 0, f32(1), f32(-1)),
    "two_values": lambda r, i, c: np.where(r >> _TOP_BIT, f32(0.3), f32(-0.1)),
    "scales_mixed": lambda r, i, c: _normal(r, 1) * np.exp2((i // 32 % 24 - 12).astype(f32)),
    "subnormal": lambda r, i, c: (
        (((r >> np.uint64(20)) % np.uint64(2001)).astype(np.int64) - 1000) * 2.0**-149
    ),
    "max_float": lambda r, i, c: np.where(r >> _TOP_BIT, _MAX, -_MAX),
}
