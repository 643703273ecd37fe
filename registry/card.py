"""Model cards: README.md split into its YAML front matter and its text, from an author nobody vouches for.

YAML can be made to explode (aliases that double, nesting without end, tags that build objects). So the front matter is
capped, walked as a flat stream of events first, and refused for aliases, depth or number of nodes before anything is
built. Scalars follow YAML 1.2, as the hub reads them: `language: no` is Norwegian, not false; a date stays text.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

MAX_CARD_BYTES = 2_000_000
"""More of a README is not kept; the file itself stays served whole."""

MAX_FRONT_MATTER_CHARACTERS = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_INTEGER_DIGITS = 18

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)(?<=\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_BASE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CardRefused(Exception):
    """The front matter is not what a catalog can read; `code` is stable, the message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Card:
    """A model card: its text, what its front matter says, and why that was not understood if it was not."""

    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    refused: CardRefused | None = None


def read_card(readme: bytes) -> Card:
    """The card in the bytes of a README.md. Never raises: what cannot be understood is empty, with the reason."""
    text = storable(readme[:MAX_CARD_BYTES].decode("utf-8-sig", "replace"))
    match = _FRONT_MATTER.match(text, 0, MAX_FRONT_MATTER_CHARACTERS)
    if match is None:
        return Card(text)
    try:
        return Card(text[match.end() :].lstrip("\r\n"), read_front_matter(match[1]))
    except CardRefused as refused:
        return Card(text[match.end() :].lstrip("\r\n"), refused=refused)


def read_front_matter(text: str) -> dict[str, Any]:
    """The mapping this YAML describes, in values that JSON can hold; CardRefused if it describes anything else."""
    try:
        _check_events(text)
        data = yaml.load(text, Loader=_CardLoader)  # noqa: S506  # a SafeLoader, with fewer types still
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise CardRefused("card-yaml", f"the front matter is not valid YAML{line}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CardRefused("card-yaml", "the front matter is not a list of keys and values")
    return {str(key): jsonable(value) for key, value in data.items()}


TEXT_FIELDS = ("license", "license_name", "library_name", "pipeline_tag")
LIST_FIELDS = ("tags", "language", "datasets", "metrics", "base_model")
"""A text, or a list of texts."""


def faults_of(card: Card) -> list[str]:
    """What keeps a catalog from understanding the card: sentences for its author. Empty for a sound one."""
    if card.refused:
        return [f"{card.refused.message}."]
    faults = [
        f'"{name}" must be a text.' for name in TEXT_FIELDS if not isinstance(card.data.get(name), str | None)
    ]
    for name in LIST_FIELDS:
        value = card.data.get(name)
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str | None) for item in items):
            faults.append(f'"{name}" must be a text or a list of texts.')
    if not isinstance(card.data.get("model-index"), list | None):
        faults.append('"model-index" must be a list.')
    return faults


def jsonable(value: Any) -> Any:
    """The value in types that JSON and the database can hold; what has no such form becomes text."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return storable(str(value))


def storable(text: str) -> str:
    """Text that every database keeps: NUL and halves of surrogate pairs become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def texts(value: Any, *, most: int = 100, longest: int = 200) -> list[str]:
    """A card says one thing or a list of things: the strings among them, cut to what a catalog keeps."""
    values = value if isinstance(value, list) else [value]
    return [item.strip()[:longest] for item in values[:most] if isinstance(item, str) and item.strip()]


def _check_events(text: str) -> None:
    """One pass over the stream of events, which builds nothing: neither memory nor recursion grows with the input."""
    depth = n_nodes = 0
    for event in yaml.parse(text, Loader=_BASE_LOADER):
        if isinstance(event, AliasEvent):
            raise CardRefused(
                "card-alias", "the front matter uses YAML aliases, which can be made to explode"
            )
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        n_nodes += isinstance(event, NodeEvent)
        if depth > MAX_DEPTH or n_nodes > MAX_NODES:
            raise CardRefused(
                "card-large",
                f"the front matter is deeper than {MAX_DEPTH} or has more than {MAX_NODES} values",
            )


class _CardLoader(_BASE_LOADER):  # type: ignore[misc]  # the C loader where libyaml is there, else the Python one
    """A SafeLoader with the scalars of YAML 1.2's core schema, and no others."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _integer(loader: Any, node: Any) -> int | str:
    text = str(loader.construct_scalar(node))
    return int(text) if len(text) <= MAX_INTEGER_DIGITS else text


def _number(loader: Any, node: Any) -> float | str:
    text = str(loader.construct_scalar(node))
    value = float(text)
    return value if math.isfinite(value) else text


_SCALARS = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
]
for _tag, _pattern, _first in _SCALARS:
    _CardLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
    )
_CardLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_CardLoader.add_constructor("tag:yaml.org,2002:float", _number)
