"""Model cards are read as the hub reads them, and no front matter can hurt the reader."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.card import CardRefused, jsonable, read_card, read_front_matter, texts

CARD = b"""---
license: apache-2.0
language:
- en
- no
tags: [text, "a b"]
base_model: org/base
released: 2026-01-02
eval: {loss: 1.5e-3, steps: 0123, best: true, worst: off, none: ~}
---

# Title

Some text.
"""


def test_a_card_is_split_into_front_matter_and_text() -> None:
    card = read_card(CARD)
    assert card.text == "# Title\n\nSome text.\n"
    assert card.refused is None
    assert card.data == {
        "license": "apache-2.0",
        "language": ["en", "no"],  # Norwegian, not false
        "tags": ["text", "a b"],
        "base_model": "org/base",
        "released": "2026-01-02",
        "eval": {"loss": 0.0015, "steps": 123, "best": True, "worst": "off", "none": None},
    }


@pytest.mark.parametrize(
    ("readme", "text", "data"),
    [
        (b"", "", {}),
        (b"# Only text\n", "# Only text\n", {}),
        (b"---\n---\ntext", "text", {}),
        (b"---\nlicense: mit\n---", "", {"license": "mit"}),
        (b"---\r\nlicense: mit\r\n---\r\ntext", "text", {"license": "mit"}),
        (b"\xef\xbb\xbf---\nlicense: mit\n---\ntext", "text", {"license": "mit"}),
        (b"---\nnever: closed\n", "---\nnever: closed\n", {}),
        (b"text\n---\nlicense: mit\n---\n", "text\n---\nlicense: mit\n---\n", {}),
        (b"---\nname: a\0b\xff\n---\nt\0xt", "t\ufffdxt", {"name": "a\ufffdb\ufffd"}),
        (b"---\na: 'x --- y'\n---\nrest", "rest", {"a": "x --- y"}),
    ],
)
def test_front_matter_is_found_only_where_it_belongs(readme: bytes, text: str, data: dict[str, str]) -> None:
    card = read_card(readme)
    assert (card.text, card.data) == (text, data)
    assert card.refused is None


BOMB = "a: &a [x, x]\n" + "".join(
    f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = {
    "billion laughs": ("card-alias", BOMB),
    "merge key": ("card-alias", "base: &b {x: 1}\nchild: {<<: *b}"),
    "cyclic": ("card-alias", "a: &a [*a]"),
    "flow nesting": ("card-", "a: " + "[" * 50_000),
    "block nesting": ("card-", "".join(f"{' ' * i}- \n" for i in range(1_200))),
    "compact nesting": ("card-", "- " * 50_000 + "x"),
    "many nodes": ("card-large", "a: [" + "1," * 200_000 + "]"),
    "python object": ("card-yaml", "a: !!python/object/apply:os.system [id]"),
    "unknown tag": ("card-yaml", "a: !unknown b"),
    "a list": ("card-yaml", "- a\n- b"),
    "text": ("card-yaml", "just words"),
    "a key that is a list": ("card-yaml", "? [a, b]\n: c"),
    "two documents": ("card-yaml", "a: 1\n--- \nb: 2"),
    "a tab": ("card-yaml", "a:\n\t- b"),
    "unclosed": ("card-yaml", "a: [b"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_front_matter_made_to_harm_is_refused_quickly(name: str) -> None:
    code, text = REFUSED[name]
    started = time.monotonic()
    with pytest.raises(CardRefused) as refused:
        read_front_matter(text)
    assert refused.value.code.startswith(code)
    assert time.monotonic() - started < 5


def test_a_card_whose_front_matter_is_refused_keeps_its_text() -> None:
    card = read_card(f"---\n{BOMB}---\n# Title".encode())
    assert (card.text, card.data) == ("# Title", {})
    assert card.refused is not None
    assert card.refused.code == "card-alias"


@given(st.binary(max_size=200))
def test_no_readme_makes_the_reader_raise(data: bytes) -> None:
    read_card(data)
    read_card(b"---\n" + data + b"\n---\n")


def test_numbers_without_a_json_form_stay_text() -> None:
    data = read_front_matter("a: 1e999\nb: .nan\nc: " + "9" * 5000 + "\nd: -7")
    assert data == {"a": "1e999", "b": ".nan", "c": "9" * 5000, "d": -7}
    assert jsonable([float("inf"), b"x", {1: (2,)}, "\ud800"]) == ["inf", "b'x'", {"1": [2]}, "\ufffd"]


def test_one_thing_or_a_list_of_things_is_a_list_of_texts() -> None:
    assert texts("en") == ["en"]
    assert texts(["en", 7, " de ", "", None]) == ["en", "de"]
    assert texts(None) == []
    assert texts({"a": "b"}) == []
