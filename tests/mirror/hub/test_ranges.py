"""Byte ranges against a slow, obvious twin: what Python's slices would give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.hub.ranges import RangeNotSatisfiable, is_same_version, matches_any, read_range

SIZES = st.integers(0, 50)


def bytes_of(header: str, size: int) -> bytes | None:
    """The bytes that a range of this file would send; None for the whole file."""
    found = read_range(header, size)
    data = bytes(range(size))
    return None if found is None else data[found.start : found.start + found.length]


@given(SIZES, st.integers(0, 60), st.integers(0, 60))
def test_a_closed_range_is_a_slice(size: int, first: int, last: int) -> None:
    header = f"bytes={first}-{last}"
    if last < first:
        assert bytes_of(header, size) is None
    elif first >= size:
        with pytest.raises(RangeNotSatisfiable):
            bytes_of(header, size)
    else:
        assert bytes_of(header, size) == bytes(range(size))[first : last + 1]


@given(SIZES, st.integers(0, 60))
def test_an_open_range_goes_to_the_end(size: int, first: int) -> None:
    if first >= size:
        with pytest.raises(RangeNotSatisfiable):
            bytes_of(f"bytes={first}-", size)
    else:
        assert bytes_of(f"bytes={first}-", size) == bytes(range(size))[first:]


@given(SIZES, st.integers(0, 60))
def test_a_suffix_range_is_the_end(size: int, count: int) -> None:
    if not count or not size:
        with pytest.raises(RangeNotSatisfiable):
            bytes_of(f"bytes=-{count}", size)
    else:
        assert bytes_of(f"bytes=-{count}", size) == bytes(range(size))[-count:]


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=5-3", "bytes=0x1-2",
     "bytes=" + "9" * 40 + "-", "bytes=1-2-3", "bytes=²-³"],
)  # fmt: skip
def test_what_is_not_one_range_is_ignored(header: str) -> None:
    assert read_range(header, 10) is None


@given(st.text(max_size=40), SIZES)
def test_no_header_breaks_it(header: str, size: int) -> None:
    try:
        found = read_range(header, size)
    except RangeNotSatisfiable:
        return
    assert found is None or (found.start >= 0 and 0 < found.length <= size - found.start)


def test_content_range_names_the_last_byte_and_the_size() -> None:
    assert str(read_range("bytes=2-", 10)) == "bytes 2-9/10"


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', '"b", "a"', "*", '"b",W/"a"'])
def test_if_none_match_compares_weakly(header: str) -> None:
    assert matches_any(header, '"a"')


@pytest.mark.parametrize("header", ["", '"b"', "a", '"ab"', "garbage"])
def test_other_tags_do_not_match(header: str) -> None:
    assert not matches_any(header, '"a"')


def test_if_range_compares_strongly() -> None:
    assert is_same_version("", '"a"')
    assert is_same_version('"a"', '"a"')
    assert not is_same_version('W/"a"', '"a"')
    assert not is_same_version("Wed, 21 Oct 2026 07:28:00 GMT", '"a"')
