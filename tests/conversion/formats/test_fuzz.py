"""Mutated files for a fixed time: no reader ever raises anything but HeaderError, nor takes more memory than it may.

A failure prints the seed and the case; `mutated(START[kind], random.Random(seed))` makes the same file again.
"""

import itertools
import random
import struct
import time
import tracemalloc

import pytest

from conversion.formats import gguf, safetensors
from conversion.formats.errors import HeaderError
from conversion.formats.source import BytesSource
from tests.conversion.formats.gguf.test_reader import SMALL as SMALL_GGUF
from tests.conversion.formats.test_safetensors import SMALL as SMALL_SAFETENSORS
from tests.fixtures.heads import FOLDER

READERS = {"gguf": gguf.read_header, "safetensors": safetensors.read_header}
START = {
    "gguf": [SMALL_GGUF, (FOLDER / "base-Q8_0.gguf").read_bytes() + bytes(100_000)],
    "safetensors": [SMALL_SAFETENSORS, (FOLDER / "base-f32.safetensors").read_bytes()],
}
NUMBERS = [
    0,
    1,
    7,
    31,
    32,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**60,
    2**61,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
WORDS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"\\ud800",
    b"-0",
    b"1e5",
    b"null",
    b"__metadata__",
    b"GGUF",
]
MAX_PEAK_BYTES = 64 * 1024 * 1024


def mutated(starts: list[bytes], rng: random.Random) -> bytes:
    """One of the starting files with one to four spans overwritten, inserted, removed or doubled."""
    data = bytearray(rng.choice(starts))
    for _ in range(rng.randint(1, 4)):
        at = int(len(data) * rng.random() ** 2)  # headers are at the front
        span = rng.randint(0, 16)
        piece = rng.choice(
            [struct.pack("<Q", rng.choice(NUMBERS)), struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF),
             rng.choice(WORDS), rng.randbytes(span), bytes(data[at : at + span])]
        )  # fmt: skip
        data[at : at + rng.choice([0, len(piece), span])] = piece
    return bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.1 else data)


def fuzz(kind: str, seconds: float, first_seed: int) -> int:
    """Files tried within `seconds`; each seed is one file."""
    deadline = time.monotonic() + seconds
    for seed in itertools.count(first_seed):
        if time.monotonic() > deadline:
            return seed - first_seed
        data = mutated(START[kind], random.Random(seed))
        try:
            READERS[kind](BytesSource(data))
        except HeaderError:
            continue
        except Exception as error:
            raise AssertionError(f"{kind} seed {seed}: {error!r}") from error
    raise AssertionError("unreachable")


@pytest.mark.parametrize("kind", READERS)
def test_two_seconds_of_mutated_files_do_no_harm(kind: str) -> None:
    tracemalloc.start()
    try:
        n_files = fuzz(kind, 2, first_seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_files > 0
    assert peak < MAX_PEAK_BYTES


@pytest.mark.soak
@pytest.mark.parametrize("kind", READERS)
def test_a_minute_of_mutated_files_does_no_harm(kind: str) -> None:
    assert fuzz(kind, 60, first_seed=random.randrange(2**40)) > 10_000
