"""The body of a commit is read in bounded memory, whatever it is cut into, and what is wrong in it is named."""

import io
import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.uploads.lines import INLINE_BYTES, MAX_LINE_BYTES, BadLine, Line, decode, read_lines

pytestmark = pytest.mark.one_backend


class Kept(io.BytesIO):
    """A sink that tells how much it got at once."""

    longest = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.longest = max(self.longest, len(data))
        return super().write(data)


def reading(body: bytes, step: int = 1 << 20) -> list[Line]:
    source = io.BytesIO(body)
    return list(read_lines(lambda wanted: source.read(min(wanted, step)), Kept))


def file_line(data: bytes) -> bytes:
    value = {"content": b64encode(data).decode(), "path": 'a "b" \\ ü', "encoding": "base64"}
    return json.dumps({"key": "file", "value": value}).encode() + b"\n"


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 50))
def test_lines_are_the_same_however_the_body_is_cut(contents: list[bytes], step: int) -> None:
    found = reading(b"".join(map(file_line, contents)), step)
    assert [decode(line.value["value"]["content"], 1) for line in found] == contents
    assert {line.value["value"]["path"] for line in found} <= {'a "b" \\ ü'}


@pytest.mark.parametrize("size", [INLINE_BYTES, 3_000_000, 3_000_001, 3_000_002])
def test_a_long_content_goes_to_the_sink_in_small_pieces(size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    [before, long, after] = reading(file_line(b"a") + file_line(data) + file_line(b"b"), 100_003)
    assert isinstance(long.sink, Kept)
    assert long.sink.getvalue() == data
    assert long.sink.longest < 1 << 20
    assert long.value["value"]["content"] == long.token
    assert (before.token, after.token) == ("", "")


def test_the_last_line_needs_no_end_and_empty_ones_say_nothing() -> None:
    assert [line.number for line in reading(b'\n{"key": 1}\n\r\n{"key": 2}')] == [2, 4]


LONG = b"QUJD" * 200_000


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "line 1 is not JSON"),
        (b"[1]\n", 400, "line 1 is not a JSON object"),
        (b'{"a": "b', 400, "ends within a text"),
        (b'{"a": "' + LONG, 400, "ends within a text"),
        (b'{"a": "' + LONG + b'%"}', 400, "ends within a group of four"),
        (b'{"a": "' + LONG + b'%%%%"}', 400, "not base64"),
        (b'{"a": "' + LONG + b"QQ==" * 70_000 + b'"}', 400, "not base64"),
        (b'{"a": "' + LONG + b'\\n"}', 400, "not base64"),
        (b'{"a": "' + LONG + b'", "b": "' + LONG + b'"}', 413, "two long texts"),
        (b"1" * (MAX_LINE_BYTES + 1), 413, "is longer than"),
        (b"[" * 100_000, 400, "is not JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_line(body: bytes, status: int, says: str) -> None:
    with pytest.raises(BadLine, match=says) as refusal:
        reading(body)
    assert refusal.value.status == status
