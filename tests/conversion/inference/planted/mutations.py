"""Endless damage: a random change of a random sound file, for as long as somebody wants to watch."""

import numpy as np

N_KINDS = 6


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with one to four changes of any kind; most of them where the header is."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        _change(found, int(rng.integers(N_KINDS)), rng)
    return bytes(found)


def _change(data: bytearray, kind: int, rng: np.random.Generator) -> None:
    at = _place(data, rng)
    length = int(rng.integers(1, 64))
    if kind == 0:  # bits
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:  # noise
        data[at : at + length] = rng.bytes(len(data[at : at + length]))
    elif kind == 2:  # an extreme number, where some number may be
        value = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]))
        data[at : at + 8] = value.to_bytes(8, "little")[: len(data[at : at + 8])]
    elif kind == 3:  # something from elsewhere in the file
        other = _place(data, rng)
        data[at : at + length] = data[other : other + len(data[at : at + length])]
    elif kind == 4:  # bytes too few or too many
        data[at : at + length] = rng.bytes(int(rng.integers(64)))
    else:  # the end is missing
        del data[len(data) - int(rng.integers(1, 1 + len(data) // 4)) :]


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Three times of four in the first 30 kB: there lie metadata, vocabulary and the list of tensors."""
    return int(rng.integers(min(30_000, len(data)) if rng.random() < 0.75 else len(data)))
