"""Under which licence a commit is, as its own card says: the front matter of README.md, which the Hub reads too.

The card is read from its verified bytes at that very commit, so what is recorded is what the author wrote there, on
every kind of index. `other` is given with the name that the card has for it: `other:llama-community`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.asking.reading import Reader
from holdfast.sources.remote import RemoteFile

CARD = "README.md"
MAX_ID = 100
_LICENCE_FILE = re.compile(r"^(licen[cs]e|copying)(\.(md|txt|rst))?$", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"(license|license_name)[ \t]{0,8}:(.*)")
_ITEM = re.compile(r"[ \t]*-[ \t](.*)")


@dataclass(frozen=True)
class Licence:
    """Its id, if the card has one, and the sha256 of the licence file, if there is one."""

    id: str | None
    file_sha256: str | None


def read_licence(reader: Reader, listing: Iterable[RemoteFile], *, with_file: bool) -> Licence:
    """What the commit says of its licence."""
    card, text = None, None
    for file in sorted(listing, key=lambda file: file.path):
        if file.path == CARD:
            card = reader.read(file)
        elif with_file and text is None and _LICENCE_FILE.match(file.path):
            text = reader.sha256(file)
    return Licence(None if card is None else licence_in_card(card), text)


def licence_in_card(card: bytes) -> str | None:
    """The licence's id in lower case; several are joined by commas. None if the card names none."""
    match = _FRONT_MATTER.match(card.decode("utf-8", "replace"))
    found = _fields(match.group(1)) if match else {}
    ids = found.get("license", [])
    if ids == ["other"] and found.get("license_name"):
        ids = [f"other:{found['license_name'][0]}"]
    joined = ",".join(ids)
    if len(joined) > MAX_ID:
        return f"{joined[: MAX_ID - 3]}..."  # which no rule allows, whatever the words before it are
    return joined or None


def _fields(front_matter: str) -> dict[str, list[str]]:
    """The two top-level keys, each a word or a list of words in any of YAML's plain forms."""
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in front_matter.split("\n"):
        key, item = _KEY.match(line), _ITEM.match(line)
        if key:
            values = found.setdefault(key.group(1), [])
            values += filter(None, map(_word, key.group(2).strip().strip("[]").split(",")))
        elif item and values is not None:
            values += filter(None, [_word(item.group(1))])
        elif line.strip():
            values = None
    return found


def _word(text: str) -> str:
    """Without quotes and comment, only what an id is made of."""
    bare = re.sub(r"\s#.*$", "", text).strip().strip("\"'").strip().lower()
    return bare if re.fullmatch(r"[a-z0-9][a-z0-9 ._+-]*", bare) else ""
