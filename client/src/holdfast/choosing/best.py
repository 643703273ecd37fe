"""`:best`: the largest variant that this machine can run, and why it is that one.

What a variant needs is its own size, the keys and values of the context, and the buffers of the program that runs it:

    weights
    + cache_bytes_per_token × min(8192, context length)      if the index read that from the header; as F16
    + an eighth of the weights, at most 500 MB               for buffers
    or weights + a quarter, if the header's facts are not known

An example: 32 layers that keep 8 heads of 128 numbers take 131,072 bytes a token, 1.1 GB for 8,192 of them.

Never chosen: what is damaged or does not run, and what the index does not let be pulled without being asked for.
A verified variant that fits is taken before larger ones that nobody verified; among equals the largest, unless a
smaller one was measured to be at least as close to the parent. A graphics card is tried first, because it is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.choosing.choices import as_facts
from holdfast.errors import DoesNotFit, HoldfastError, NotFound, NotValidated
from holdfast.sources.remote import Choice
from holdfast.text import format_bytes, printable

if TYPE_CHECKING:
    from holdfast.choosing.memory import Room

BEST = "best"
CONTEXT_TOKENS = 8192
MAX_BUFFER_BYTES = 500_000_000
BUFFER_DIVISOR = 8
UNKNOWN_DIVISOR = 4
FAILED = frozenset({"damaged", "unsupported", "failed"})
VERIFIED = "verified"


@dataclass(frozen=True)
class Need:
    """The bytes that running a variant takes; `tokens` is None where they are a guess by size alone."""

    weights_bytes: int
    beside_bytes: int
    tokens: int | None

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.beside_bytes

    @property
    def words(self) -> str:
        beside = f"{format_bytes(self.weights_bytes)} + {format_bytes(self.beside_bytes)}"
        return (
            f"{beside} for {self.tokens:,} tokens of context" if self.tokens else f"{beside} for its context"
        )


def need_of(choice: Choice) -> Need:
    """What the variant needs, by the table above."""
    weights = choice.size_bytes
    if choice.cache_bytes_per_token is None:
        return Need(weights, weights // UNKNOWN_DIVISOR, None)
    tokens = min(CONTEXT_TOKENS, choice.context_length or CONTEXT_TOKENS)
    buffers = min(weights // BUFFER_DIVISOR, MAX_BUFFER_BYTES)
    return Need(weights, choice.cache_bytes_per_token * tokens + buffers, tokens)


def choose_best(name: str, choices: Sequence[Choice], rooms: Sequence[Room]) -> tuple[Choice, str]:
    """The choice, and one sentence that says why. Raises DoesNotFit, NotValidated or NotFound, with the choices."""
    found = [choice for choice in choices if choice.is_gguf] or [
        choice for choice in choices if choice.variant.casefold() == "safetensors"
    ]
    allowed = [choice for choice in found if choice.verdict not in FAILED and choice.pulled_by_default]
    if not allowed:
        raise _nothing_allowed(name, found or choices, is_refused=bool(found))
    if not rooms:
        raise _unknown_memory(name, allowed)
    for room in rooms:
        fitting = [choice for choice in allowed if need_of(choice).total_bytes <= room.size_bytes]
        if fitting:
            chosen = _preferred(fitting)
            return chosen, _reason(chosen, allowed, room)
    raise _too_large(name, allowed, max(rooms, key=lambda room: room.size_bytes))


def _preferred(fitting: Sequence[Choice]) -> Choice:
    verified = [choice for choice in fitting if choice.verdict == VERIFIED]
    largest = max(verified or fitting, key=lambda choice: (choice.size_bytes, choice.variant))
    known = largest.mean_kld
    if known is None:
        return largest
    closer = [
        choice
        for choice in verified or fitting
        if choice.mean_kld is not None and choice.mean_kld <= known and choice.size_bytes < largest.size_bytes
    ]
    return min(closer, key=lambda choice: (choice.mean_kld, choice.size_bytes), default=largest)


def _reason(chosen: Choice, allowed: Sequence[Choice], room: Room) -> str:
    """`Q5_K_M: 5.7 GB + 1.2 GB for 8,192 tokens of context fits in 11.4 GB free; Q6_K does not`."""
    first = f"{printable(chosen.variant)}: {need_of(chosen).words} fits in {format_bytes(room.size_bytes)} {room.words}"
    larger = sorted(
        (choice for choice in allowed if choice.size_bytes > chosen.size_bytes),
        key=lambda choice: choice.size_bytes,
    )
    if not larger:
        return f"{first}; it is the largest there is" if len(allowed) > 1 else first
    name = printable(larger[0].variant)
    if need_of(larger[0]).total_bytes > room.size_bytes:
        return f"{first}; {name} does not"
    if chosen.verdict == VERIFIED and larger[0].verdict != VERIFIED:
        return f"{first}, and it is verified; {name} is not"
    return f"{first}; {name} is larger and no closer to its parent"


def _too_large(name: str, choices: Sequence[Choice], room: Room) -> HoldfastError:
    least = min(choices, key=lambda choice: need_of(choice).total_bytes)
    need = need_of(least)
    return DoesNotFit(
        f"no variant of {name} fits in {format_bytes(room.size_bytes)} {room.words}",
        hint=f"The smallest, {printable(least.variant)}, needs {need.words}. Name one to have it all the same.",
        needed_bytes=need.total_bytes,
        free_bytes=room.size_bytes,
        repo_id=name.partition("@")[0],
        choices=as_facts(choices),
    )


def _unknown_memory(name: str, choices: Sequence[Choice]) -> HoldfastError:
    return DoesNotFit(
        f"cannot find out how much memory this machine has, so nothing can be the best of {name}",
        hint="Say it: HOLDFAST_MEMORY=12G, or name a variant.",
        repo_id=name.partition("@")[0],
        choices=as_facts(choices),
    )


def _nothing_allowed(name: str, choices: Sequence[Choice], *, is_refused: bool) -> HoldfastError:
    if is_refused:
        return NotValidated(
            f"every variant of {name} failed its test, or may not be pulled without being asked for",
            hint="Name a variant to have it all the same.",
            repo_id=name.partition("@")[0],
            choices=as_facts(choices),
        )
    return NotFound(
        f"{name} has no GGUF variant and no safetensors to choose the best of",
        hint="Leave :best out for the whole repo.",
        repo_id=name.partition("@")[0],
        choices=as_facts(choices),
    )
