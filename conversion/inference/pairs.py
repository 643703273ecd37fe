"""Fifty pairs of sentences, of the same meaning, related, or unrelated: what embedding models are compared on.

Eight languages and English, each pair in one language. Written for this purpose and dedicated to the public domain.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_name("texts") / "pairs.tsv"
SHA256 = "c47f55e1272dcbf68e7a275347d1c7fb8389e6968fba7803d6f971df7b18b3d9"
"""In every report on an embedding model, since figures are comparable only on the same pairs."""

SAME, RELATED, UNRELATED = GRADES = ("same", "related", "unrelated")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences of one language, and how much they have to do with each other: one of GRADES."""

    grade: str
    language: str
    first: str
    second: str


@cache
def read_pairs() -> tuple[Pair, ...]:
    """The pairs in their order. Raises ValueError if the file is not, byte for byte, the one we publish figures on."""
    data = PATH.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != SHA256:
        raise ValueError(f"sentence pairs {PATH.name}: sha256 is {actual}, expected {SHA256}; reinstall it")
    return tuple(Pair(*line.split("\t")) for line in data.decode().splitlines())


def sentences() -> list[str]:
    """The hundred sentences: both of the first pair, both of the second, and so on."""
    return [text for pair in read_pairs() for text in (pair.first, pair.second)]
