"""The tables of a GGUF's tokenizer beside its parent's: pieces, scores, types, merges and the name of its rules.

Ids of some strings cannot show a change in a piece that none of them uses; the tables can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion.formats.gguf import MetadataValue, read_header, read_value
from conversion.formats.source import ByteSource, FileSource, read_exactly

PREFIX = "tokenizer.ggml."
TABLES = {"tokens": "piece", "merges": "merge", "scores": "score", "token_type": "type"}
"""Key -> what one entry of it is called."""

RULES = (
    "model",
    "pre",
    "precompiled_charsmap",
    "remove_extra_whitespaces",
    "add_space_prefix",
    "unknown_token_id",
)
"""Keys that say how text is cut before pieces are looked for."""

UNUSED = 5
"""In `token_type`: a row that no text becomes."""

Tables = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One table or rule that differs, in words. `breaks_text`: other ids follow from it, whether seen or not."""

    key: str
    words: str
    breaks_text: bool


def read_tables(path: Path) -> Tables:
    """The values of `TABLES` and `RULES` in the GGUF at `path`. Raises HeaderError."""
    with FileSource(path) as source:
        metadata = read_header(source).metadata
        return {
            key: read_value(source, metadata[PREFIX + key]).value
            for key in (*TABLES, *RULES)
            if PREFIX + key in metadata
        }


def is_same_tokenizer(ours: Path, theirs: Path) -> bool:
    """Whether all that llama.cpp reads of a tokenizer is the same in both GGUFs, to the last byte.

    Then it answers the same for both, whatever it is asked. Chat templates are left out. Raises HeaderError.
    """
    with FileSource(ours) as source, FileSource(theirs) as other:
        here, there = _tokenizer_keys(source), _tokenizer_keys(other)
        return here.keys() == there.keys() and all(
            (value.type, value.element_type, value.size_bytes)
            == (there[key].type, there[key].element_type, there[key].size_bytes)
            and _raw(source, value) == _raw(other, there[key])
            for key, value in here.items()
        )


def _tokenizer_keys(source: ByteSource) -> dict[str, MetadataValue]:
    metadata = read_header(source).metadata
    return {
        key: value
        for key, value in metadata.items()
        if (key.startswith("tokenizer.") and not key.startswith("tokenizer.chat_template"))
        or key == "general.architecture"
    }


def _raw(source: ByteSource, value: MetadataValue) -> bytes:
    return read_exactly(source, value.start, value.size_bytes, code="gguf-truncated", what="a metadata value")


def compare_tables(ours: Tables, theirs: Tables) -> list[Difference]:
    """Every table and rule that is not the parent's, those that change text first."""
    found = [
        difference
        for key in (*TABLES, *RULES)
        if (difference := _compare(key, ours.get(key), theirs.get(key), ours, theirs))
    ]
    return sorted(found, key=lambda difference: not difference.breaks_text)


def _compare(key: str, a: Any, b: Any, ours: Tables, theirs: Tables) -> Difference | None:
    if a == b or (key in RULES and a is None) or (key in RULES and b is None):
        return None  # what a converter does not say, llama.cpp decides by the model and the ids will show it
    if key not in TABLES:
        shown = f"{PREFIX}{key} is {str(a)[:40]!r} instead of {str(b)[:40]!r}"
        return Difference(key, shown, breaks_text=False)
    name, a, b = TABLES[key], a or [], b or []
    if len(a) != len(b):
        return Difference(
            key, f"{len(a)} {name}s instead of {len(b)}", breaks_text=key in ("tokens", "merges")
        )
    at = next(index for index, (one, other) in enumerate(zip(a, b, strict=True)) if one != other)
    n = sum(one != other for one, other in zip(a, b, strict=True))
    words = f"{name} {at} is {a[at]!r:.60} instead of {b[at]!r:.60}" + (
        f", and {n - 1} more" if n > 1 else ""
    )
    used = key != "tokens" or _is_used(ours, theirs, a, b)
    return Difference(key, words, breaks_text=used and key in ("tokens", "merges"))


def _is_used(ours: Tables, theirs: Tables, a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether some piece that differs is one that text becomes, in either."""
    types = [tables.get("token_type") or [] for tables in (ours, theirs)]
    return any(
        one != other and not all(index < len(kinds) and kinds[index] == UNUSED for kinds in types)
        for index, (one, other) in enumerate(zip(a, b, strict=True))
    )
