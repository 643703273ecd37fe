"""A planned file is written front to back, or not at all."""

import pytest

from conversion.formats.layout import FileLayout, TensorEntry, stream_file

LAYOUT = FileLayout(
    b"HEAD", (TensorEntry("a", "U8", (3,), 4, 3), TensorEntry("b", "U8", (2, 2), 8, 4)), size_bytes=16
)


def test_gaps_between_tensors_are_zeros() -> None:
    written = b"".join(stream_file(LAYOUT, [("a", [b"x", b"yz"]), ("b", [b"1234"])]))
    assert written == b"HEADxyz\x001234\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ([("b", [b"1234"])], "expected tensor 'a' next, got 'b'"),
        ([("a", [b"xyz"])], "tensor 'b' was planned but never came"),
        ([("a", [b"xyz"]), ("b", [b"1234"]), ("c", [])], "expected tensor 'none' next, got 'c'"),
        ([("a", [b"xy"])], "got 1 fewer bytes than the 3 planned"),
        ([("a", [b"xy", b"zz"])], "got more bytes than the 3 planned"),
    ],
)
def test_tensors_that_do_not_follow_the_plan_are_refused(
    tensors: list[tuple[str, list[bytes]]], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        list(stream_file(LAYOUT, tensors))


def test_an_entry_counts_its_elements() -> None:
    assert TensorEntry("a", "F32", (), 0, 4).n_elements == 1
    assert TensorEntry("a", "F32", (2, 0, 3), 0, 0).n_elements == 0
    assert LAYOUT.entries[1].n_elements == 4
    assert LAYOUT.entries[1].end == 12
