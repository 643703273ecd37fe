"""Sources give exact ranges and say plainly when a file ends too early."""

from pathlib import Path

import pytest

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.source import BytesSource, CountingSource, FileSource, RangeSource, read_exactly


def test_every_kind_of_source_gives_the_same_range(tmp_path: Path) -> None:
    data = bytes(range(200))
    (tmp_path / "file").write_bytes(data)
    with FileSource(tmp_path / "file") as file:
        sources = [
            BytesSource(data),
            file,
            RangeSource(200, lambda start, length: data[start : start + length]),
        ]
        assert [source.size_bytes for source in sources] == [200, 200, 200]
        assert {source.read(17, 50) for source in sources} == {data[17:67]}


def test_a_counting_source_counts_what_was_asked() -> None:
    source = CountingSource(BytesSource(bytes(100)))
    source.read(0, 10)
    source.read(50, 5)
    assert (source.n_reads, source.bytes_read, source.size_bytes) == (2, 15, 100)


def test_a_range_beyond_the_end_is_refused_before_it_is_read() -> None:
    source = CountingSource(BytesSource(bytes(100)))
    with pytest.raises(HeaderError, match="needs bytes 90 to 110, but the file has 100 bytes") as refused:
        read_exactly(source, 90, 20, code="st-truncated", what="the header")
    assert refused.value.code == "st-truncated"
    assert source.n_reads == 0


def test_a_file_cut_after_it_was_measured_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with FileSource(path) as source:
        path.write_bytes(bytes(60))
        with pytest.raises(HeaderError, match="asked for 100 bytes at 0, got 60"):
            read_exactly(source, 0, 100, code="gguf-truncated", what="the header")


def test_hostile_text_is_quoted_on_one_short_printable_line() -> None:
    text = quoted("\x1b[2J\n\u202e" + "x" * 10_000)
    assert text.isprintable()
    assert len(text) < 100
