"""Several variants: reading them from an answer, joining two lists of them, and saying that one must be chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from holdfast.errors import AmbiguousVariant, NotFound
from holdfast.sources.remote import Choice
from holdfast.text import printable

MAX_COUNT = 1 << 60


def read_choice(found: Mapping[str, Any]) -> Choice:
    """The choice in an answer. What is no number of a possible size counts as not said. Raises KeyError, TypeError."""
    verdict = found.get("verdict")
    share = _number(found.get("top1_agreement"))
    return Choice(
        variant=str(found["variant"]),
        repo_id=str(found["repo_id"]),
        path=str(found.get("path") or ""),
        size_bytes=_count(found.get("size_bytes")) or 0,
        verdict=None if verdict is None else str(verdict),
        mean_kld=_number(found.get("mean_kld")),
        top1_agreement=share if share is None or share <= 1 else None,
        perplexity_ratio=_number(found.get("perplexity_ratio")),
        bits_per_weight=_number(found.get("bits_per_weight")),
        parameter_count=_count(found.get("parameter_count")),
        context_length=_count(found.get("context_length")),
        cache_bytes_per_token=_count(found.get("cache_bytes_per_token")),
        pulled_by_default=found.get("pulled_by_default") is not False,
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 1e9 else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= MAX_COUNT else None


def merged(own: Sequence[Choice], told: Sequence[Choice]) -> list[Choice]:
    """Our reading of the listing, with what the index tells of the same files, and then what else it knows.

    A file keeps the name that we read from its path: that is what a reference finds it by.
    """
    known = {_key(choice): choice for choice in told}
    first = [
        replace(known.pop(_key(choice)), variant=choice.variant) if _key(choice) in known else choice
        for choice in own
    ]
    return [*first, *known.values()]


def _key(choice: Choice) -> tuple[str, str]:
    return choice.repo_id, choice.path if choice.is_gguf else choice.variant.casefold()


def as_facts(choices: Iterable[Choice]) -> list[dict[str, Any]]:
    """The choices as an error carries them; what nobody knows is left out."""
    return [
        {name: value for name, value in vars(choice).items() if value is not None or name == "verdict"}
        for choice in choices
    ]


def no_variant(variant: str, repo_id: str, name: str, choices: Sequence[Choice]) -> NotFound:
    """The error for a variant that there is not."""
    if choices:
        hint = "Choose one of these after the colon, or leave :variant out for the whole repo."
    else:
        hint = "Leave :variant out for the whole repo."
    return NotFound(
        f"no variant {printable(variant)} of {name}",
        hint=hint,
        repo_id=repo_id,
        variant=variant,
        choices=as_facts(choices),
    )


def ambiguous(what: str, choices: Sequence[Choice], repo_id: str) -> AmbiguousVariant:
    """The error where several variants are meant, and nobody can be asked."""
    same = len({choice.variant for choice in choices}) < len(choices)
    example = f"//{choices[0].path}" if same else f":{choices[0].variant}"
    best = "" if same else "; :best takes the largest that fits"
    return AmbiguousVariant(
        what,
        hint=f"Name one, for example: holdfast pull {repo_id}{example}{best}",
        repo_id=repo_id,
        choices=as_facts(choices),
    )
