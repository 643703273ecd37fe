"""One key changes, and nothing else does: not a comment, not a space, not the order."""

import tomllib
from typing import Any

import pytest
from holdfast.configuration.tomledit import set_key, show_value, unset_key
from hypothesis import given
from hypothesis import strategies as st

WRITTEN = """\
# Mine.

index-url = "https://a#b"   # not "here"
  retries=3
extra-index-url = [
    "https://one",  # first
    "https://two",
]  # both
note = '''
timeout = 1
[holdfast]
'''

# about proxies
[other]  # theirs
timeout = 99
"""


def test_a_value_changes_in_its_place_and_keeps_its_comment() -> None:
    changed = set_key(WRITTEN, None, "index-url", "https://c")
    assert changed == WRITTEN.replace('"https://a#b"   #', '"https://c"   #')
    assert set_key(WRITTEN, None, "extra-index-url", ["https://three"]) == WRITTEN.replace(
        '[\n    "https://one",  # first\n    "https://two",\n]  # both', '["https://three"]  # both'
    )


def test_a_new_key_stands_behind_the_last_one_and_before_the_first_table() -> None:
    assert set_key(WRITTEN, None, "timeout", 5) == WRITTEN.replace("'''\n\n#", "'''\ntimeout = 5\n\n#")
    assert set_key("", None, "timeout", 5) == "timeout = 5\n"
    assert set_key("# mine\n", None, "timeout", 5) == "# mine\ntimeout = 5\n"
    assert set_key("# mine\n\n[other]\n", None, "timeout", 5) == "# mine\ntimeout = 5\n\n[other]\n"


def test_a_table_is_found_or_made() -> None:
    assert set_key(WRITTEN, "other", "timeout", 5) == WRITTEN.replace("timeout = 99", "timeout = 5")
    assert set_key("a = 1", "holdfast", "b", True) == "a = 1\n\n[holdfast]\nb = true\n"
    assert set_key("[holdfast]\n# why\n\n[x]\n", "holdfast", "b", 1) == "[holdfast]\n# why\nb = 1\n\n[x]\n"
    assert set_key("", "holdfast", "b", 1) == "[holdfast]\nb = 1\n"


def test_a_key_goes_with_all_its_lines_and_nothing_else() -> None:
    gone = unset_key(WRITTEN, None, "extra-index-url")
    assert gone == WRITTEN.replace(
        'extra-index-url = [\n    "https://one",  # first\n    "https://two",\n]  # both\n', ""
    )
    assert unset_key(WRITTEN, None, "timeout") == WRITTEN
    assert unset_key(WRITTEN, "holdfast", "timeout") == WRITTEN


def test_underscores_quotes_and_windows_lines_stay() -> None:
    assert set_key("index_url = 'x'\r\n", None, "index-url", "y") == 'index_url = "y"\r\n'
    assert unset_key("a = 1\r\nindex_url = 'x'\r\n", None, "index-url") == "a = 1\r\n"
    assert unset_key('"retries" = 3\n', None, "retries") == ""


@pytest.mark.parametrize(
    ("text", "table"),
    [("holdfast.retries = 1\n", "holdfast"), ("holdfast = {retries = 1}\n", "holdfast"), ("holdfast = 1\n", "holdfast"),
     ("retries = \n", None), ("[[holdfast]]\n", "holdfast"), ("retries.x = 1\n[retries.y]\n", None),
     ("x = [\n" + "1,\n" * 300 + "]\n", None)],
)  # fmt: skip
def test_what_only_its_author_should_change_is_refused(text: str, table: str | None) -> None:
    with pytest.raises(ValueError, match=r".+"):
        set_key(text, table, "retries", 2)


KEYS = st.sampled_from(["index-url", "retries", "find-links", "a", "b_c"])
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(blacklist_categories=("Cs",))), st.lists(st.text("a#\"'\\ \n[]=é", max_size=5), max_size=3),
)  # fmt: skip
FILLER = st.sampled_from(["", "# a comment = [", "  # ''' ", "\t"])


@given(st.dictionaries(KEYS, VALUES), st.lists(FILLER, max_size=3), KEYS, VALUES, st.booleans())
def test_whatever_is_written_is_read_back_and_the_rest_stays(
    old: dict[str, Any], filler: list[str], key: str, value: Any, in_table: bool
) -> None:
    table = "holdfast" if in_table else None
    lines = [f"{name} = {show_value(one)}  # {name}" for name, one in old.items()]
    text = "\n".join([*filler, *(["[holdfast]"] if in_table else []), *lines, *filler]) + "\n"
    new = set_key(text, table, key, value)
    read = tomllib.loads(new)
    assert (read.get("holdfast", {}) if in_table else read) == {**old, key: value}
    kept = [line for line in text.split("\n") if not line.startswith(f"{key} =")]
    assert all(line in new.split("\n") for line in kept)
    assert tomllib.loads(unset_key(new, table, key)).get(key) is None
