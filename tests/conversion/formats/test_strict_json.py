"""The walker reads what JSON allows and nothing else."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.formats.errors import HeaderError
from conversion.formats.strict_json import JsonWalker

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(text, text), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_an_object_of_strings_is_read_as_json_reads_it(
    value: dict[str, str], indent: int | str | None, ascii_only: bool
) -> None:
    walker = JsonWalker(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(), "st")
    assert walker.strings(100) == value
    walker.finish()


@given(
    st.dictionaries(text.filter(lambda t: "}" not in t), st.integers() | st.lists(st.integers(), max_size=5))
)
def test_a_small_object_is_read_as_json_reads_it(value: dict[str, object]) -> None:
    assert JsonWalker(json.dumps(value).encode(), "st").small_object() == value


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_header_errors(data: bytes) -> None:
    with suppress(HeaderError):
        walker = JsonWalker(b'{"k":' + data, "ck")
        for _ in walker.members():
            walker.small_value()
        walker.finish()


@pytest.mark.parametrize("value", ['{"a": 1.5, "b": [2]}', '"text"', "12.5e3", "null", "true"])
def test_a_value_nobody_needs_is_passed_over(value: str) -> None:
    walker = JsonWalker(f'{{"skip": {value}, "kept": "yes"}}'.encode(), "ck")
    found = {}
    for key in walker.members():
        if key == "kept":
            found[key] = walker.string()
        else:
            walker.small_value()
    assert found == {"kept": "yes"}
