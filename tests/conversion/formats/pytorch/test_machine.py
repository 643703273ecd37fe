"""The interpreter gives what Python's own unpickler gives for plain values, and stays small whatever it is given."""

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats.errors import HeaderError
from conversion.formats.pytorch import machine
from conversion.formats.pytorch.machine import _HANDLERS, REFUSED_NAMES
from conversion.formats.pytorch.stream import PickleStream
from conversion.formats.source import BytesSource
from tests.fixtures.hostile.torch_raw import pickled, tensor, text

ROOT = Path(__file__).parents[4]
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**120), 2**120) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)  # fmt: skip


def run(data: bytes) -> Any:
    return machine.run(PickleStream(BytesSource(data)))[0]


@settings(deadline=None, max_examples=150)
@given(plain, st.integers(3, 5))
def test_plain_values_are_what_python_reads(value: object, protocol: int) -> None:
    shared = [value, value, {"again": value}]
    assert run(pickle.dumps(shared, protocol)) == shared


def test_python_2_wrote_short_strings() -> None:
    assert run(b"\x80\x02}U\x01aT\x02\x00\x00\x00bcs.") == {"a": "bc"}


def test_a_state_on_a_dict_says_nothing_about_weights() -> None:
    value = run(
        pickled(b"ccollections\nOrderedDict\n)R", text("w"), tensor(), b"s", b"}", text("_metadata"), b"}sb")
    )
    assert list(value) == ["w"]


def test_an_opcode_is_either_handled_or_refused_by_name() -> None:
    assert not set(_HANDLERS) & set(REFUSED_NAMES)
    everything = {code for opcode in _opcodes() for code in opcode}
    assert set(_HANDLERS) | set(REFUSED_NAMES) | {ord(".")} == everything


def _opcodes() -> list[bytes]:
    """Every opcode that Python knows, from its own constants."""
    names = [name for name in dir(pickle) if name.isupper()]
    return [
        getattr(pickle, name)
        for name in names
        if type(getattr(pickle, name)) is bytes and len(getattr(pickle, name)) == 1
    ]


@pytest.mark.parametrize("position", [0, 1, 40, 200])
def test_a_refused_opcode_is_named_with_its_place(position: int) -> None:
    with pytest.raises(HeaderError, match=rf"opcode NEWOBJ \(0x81\) at byte {position + 2}\b"):
        run(b"\x80\x02" + b"N" * position + b"\x81")


def test_numbers_are_read_with_their_signs() -> None:
    for number in (-1, 255, -(2**31), 2**64, -(2**100)):
        assert run(pickle.dumps(number, 2)) == number
    assert math.isnan(run(pickle.dumps(math.nan, 2)))


WORST = {
    "two million dicts": b"](" + b"}" * 990_000 + b"e(" + b"}" * 990_000 + b"e",
    "a million memos": b"](" + b"N" + b"\x94" * 990_000 + b"}" * 980_000 + b"e",
    "wide text": b"](" + (b"X\x00\x00\x10\x00" + "é".encode() * (2**19 - 2) + "😀".encode()) * 31 + b"e",
}
MAX_GROWTH_BYTES = 320 * 1024 * 1024
CHILD = """
import resource, sys
from conversion.formats.pytorch import machine
from conversion.formats.pytorch.stream import PickleStream
from conversion.formats.source import BytesSource

data = sys.stdin.buffer.read()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(type(machine.run(PickleStream(BytesSource(data)))[0]).__name__)
"""


@pytest.mark.parametrize("name", WORST)
def test_the_worst_pickle_within_the_limits_fits_its_memory(name: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(MAX_GROWTH_BYTES)],
        cwd=ROOT, input=pickled(WORST[name]), capture_output=True, check=False,
    )  # fmt: skip
    assert (child.returncode, child.stdout) == (0, b"list\n"), child.stderr[-1000:]
