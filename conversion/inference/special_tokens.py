"""Special tokens beside the parent's: what is put around a text, what ends generation, and which id each has."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from conversion.inference.engine import Vocabulary
from conversion.inference.findings import Findings
from conversion.naming.base import NamingError
from conversion.naming.vocabulary.special import read_special

T = TypeVar("T")


def compare_special(ours: Vocabulary, theirs: Vocabulary, findings: Findings) -> None:
    """A text that begins otherwise, or an end that is not seen, is a failure; any other difference a warning."""
    findings.value["special"] = ours.special
    for name, adds in theirs.adds.items():
        if ours.adds.get(name, False) != adds:
            what = "puts" if not adds else "does not put"
            words = f"it {what} the {name} token around a text, unlike its parent"
            findings.fail(words, "special-tokens-differ")
    for name, token in theirs.special.items():
        found = ours.special.get(name)
        if found != token:
            words = f"its {name} token is {found if found is not None else 'missing'} instead of {token}"
            if _breaks(name, ours, theirs):
                findings.fail(words, "special-tokens-differ")
            else:
                findings.warn(words)


def _breaks(name: str, ours: Vocabulary, theirs: Vocabulary) -> bool:
    if name == "bos":
        return bool(theirs.adds.get("bos") or ours.adds.get("bos"))
    if name == "eos":
        return theirs.special["eos"] not in ours.ends or ours.special.get("eos") not in theirs.ends
    return False


def expected_special(folder: Path, ours: Vocabulary) -> Vocabulary | None:
    """What the parent's own files say of those special tokens that our container also has; None if unreadable."""
    try:
        stated = read_special(folder, merges=False)
    except (NamingError, ValueError, TypeError, AttributeError, LookupError):
        return None
    special = _shared(stated.ids, ours.special)
    # Which other tokens end its generation is not stated; those that look like it do.
    return Vocabulary("", ours.n_tokens, special, _shared(stated.adds, ours.adds), ours.ends)


def _shared(stated: Mapping[str, T], ours: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in stated.items() if name in ours}
