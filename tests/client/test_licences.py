"""The licence is what the card's front matter says, in any of YAML's plain forms, and in bounded time."""

import pytest
from holdfast.lists.licences import MAX_ID, licence_in_card
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Card", "apache-2.0"),
        ("\ufeff---\r\ntags: [x]\r\nlicense: MIT   # free\r\n---\r\n", "mit"),
        ("---\nlicense:\n- mit\n- 'apache-2.0'\ntags:\n- other\n---\n", "mit,apache-2.0"),
        ('---\nlicense: ["mit", gpl-3.0]\n...\n', "mit,gpl-3.0"),
        ("---\nlicense: other\nlicense_name: Llama-3.1 Community\nlicense_link: x\n---\n", "other:llama-3.1 community"),
        ("---\nlicense_name: mit\nlicense: other\n---\n", "other:mit"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\ntags:\n- mit\n---\n", None),
        ("---\nlicense: '\x1b[2J'\n---\n", None),
        ("---\ninner:\n  license: mit\n---\n", None),
        ("---\ntags: []\n---\nlicense: mit\n", None),
        ("---\nlicense: mit\n", None),
        ("license: mit\n---\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_card_says_which_licence(card: str, licence: str | None) -> None:
    assert licence_in_card(card.encode()) == licence


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"---\nlicense:{text}\n---\n".encode())
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_card_holds_the_licence_is_a_short_word_or_none(card: bytes) -> None:
    found = licence_in_card(card)
    assert found is None or (found.isascii() and found.isprintable() and 0 < len(found) <= MAX_ID)


@pytest.mark.parametrize(
    ("line", "licence"),
    [
        ("license: {}x", "x"),
        ("license{}x", None),
        ("license:\n- {}\x00", None),
        ("license: a{}#", "a"),
        ("{}license: mit", None),
    ],
)
def test_a_line_of_blanks_is_read_to_its_end(line: str, licence: str | None) -> None:
    """Where the time grows with the square of the length, as it did, this takes hours."""
    assert licence_in_card(f"---\n{line.format(' ' * 2_000_000)}\n---\n".encode()) == licence


def test_a_list_too_long_to_be_noted_is_allowed_by_nobody() -> None:
    words = ["mit"] * 24 + ["zlib", "proprietary"]
    found = licence_in_card(f"---\nlicense: [{', '.join(words)}]\n---\n".encode())
    assert found is not None
    assert not set(found.split(",")) <= {"mit", "zlib"}
