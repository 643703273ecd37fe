"""No file, however mangled, makes a reader raise anything but HeaderError, nor take more memory or time than it may.

`fuzzing.py` does the work in a child, whose memory the operating system limits; hypothesis looks at the same edits with
an eye for the smallest.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversion.formats.fuzzing import KINDS, outcome

ROOT = Path(__file__).parents[3]
SECONDS = 15.0
SOAK_SECONDS = float(os.environ.get("HOLDFAST_FUZZ_SECONDS", "3600"))


def fuzzed(seconds: float, first_seed: int) -> dict[str, int]:
    """Files tried by reader; fails with the child's last words."""
    child = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.conversion.formats.fuzzing", str(seconds), str(first_seed)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-2000:]
    counts: dict[str, int] = json.loads(child.stdout)
    return counts


def test_seconds_of_mutated_files_do_no_harm_to_any_reader() -> None:
    counts = fuzzed(SECONDS, first_seed=0)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > 20


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_an_hour_of_mutated_files_does_no_harm_to_any_reader() -> None:
    counts = fuzzed(SOAK_SECONDS, first_seed=random.randrange(2**40))
    assert min(counts.values()) > SOAK_SECONDS


@st.composite
def edits(draw: st.DrawFn) -> bytes:
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    data = bytearray(draw(st.sampled_from(kind.starts)))
    pieces = st.binary(max_size=8) | st.sampled_from(kind.words or (b"\0",))
    for at, gone, piece in draw(
        st.lists(st.tuples(st.integers(0, len(data)), st.integers(0, 8), pieces), min_size=1, max_size=3)
    ):
        data[at : at + gone] = piece
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(edits(), st.sampled_from(sorted(KINDS)))
def test_a_few_edits_raise_nothing_but_header_errors(data: bytes, reader: str) -> None:
    """Any file to any reader: an edited pickle may well be given to the reader of GGUF."""
    assert outcome(KINDS[reader], data).isprintable()
