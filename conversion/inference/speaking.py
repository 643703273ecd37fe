"""A model continues a text, token by token: greedily, or drawn with a seed from its own distribution.

We draw over the logits ourselves, so the same seed gives the same text on the same engine build, whatever samplers a
library has. Temperature divides the logits; top-p keeps the smallest set of likeliest tokens that together have that
much probability (Holtzman et al., The Curious Case of Neural Text Degeneration, 2019).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversion.inference.engine import EngineError
from conversion.inference.sandbox import Sandbox

INCOMPLETE = "�"
"""What a character becomes whose last bytes are in a token that has not come yet."""


@dataclass(frozen=True)
class Wish:
    """What somebody asks a model for. Temperature 0: always the likeliest token; top_p 1: of all tokens.

    raw: the prompt is a text to continue, and no chat template is applied to it.
    """

    prompt: str
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    seconds: float = 60.0
    raw: bool = False


@dataclass(frozen=True)
class Ending:
    """Why it stopped: `end` (the model ended its text), `length`, `context`, `time`."""

    why: str
    n_tokens: int


def speak(model: Sandbox, wish: Wish, ids: list[int] | None = None) -> Iterator[str | Ending]:
    """Pieces of text as they come, whole characters only, and the Ending last. `ids` are of a prompt made otherwise.

    Raises EngineError: `prompt-too-long` when nothing fits behind the prompt, else what the engine says.
    """
    if ids is None:
        ids = model.tokenize(wish.prompt, special=True)
    room = model.facts.n_context - len(ids)
    if not ids or room < 1:
        what = "has no token" if not ids else f"has {len(ids)} tokens"
        raise EngineError(
            "prompt-too-long" if ids else "prompt-empty",
            f"the prompt {what}; a context of {model.facts.n_context} tokens is opened here",
        )
    said = _Text(model, ids)
    deadline, dice = time.monotonic() + wish.seconds, np.random.default_rng(wish.seed)
    fed, extend = ids, False
    while True:
        if why := _stops(len(said.tokens), room, wish.max_tokens, deadline):
            break
        (rows,) = model.logits(fed, first=len(fed) - 1, extend=extend)
        token = draw(rows[0], wish.temperature, wish.top_p, dice)
        if model.is_end(token):
            why = "end"
            break
        yield from said.add(token)
        fed, extend = [token], True
    yield from said.rest()
    yield Ending(why, len(said.tokens))


def draw(logits: NDArray[np.float32], temperature: float, top_p: float, dice: np.random.Generator) -> int:
    """The next token of one row of logits. Raises EngineError `decode-failed` where they are not finite."""
    if not np.isfinite(logits).all():
        raise EngineError("decode-failed", "the model's logits hold NaN or infinity")
    if temperature <= 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    n_kept = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1 if top_p < 1 else len(p)
    kept = order[:n_kept]
    return int(dice.choice(kept, p=p[kept] / p[kept].sum()))


def _stops(n_tokens: int, room: int, most: int, deadline: float) -> str:
    if n_tokens >= most:
        return "length"
    if n_tokens >= room:
        return "context"
    return "time" if time.monotonic() > deadline else ""


class _Text:
    """What was said so far as text; pieces are the difference that each token makes to the whole."""

    def __init__(self, model: Sandbox, ids: list[int]) -> None:
        self._model, self._ids = model, ids
        self.tokens: list[int] = []
        self._sent = model.detokenize(ids)

    def add(self, token: int) -> Iterator[str]:
        self.tokens.append(token)
        whole = self._whole()
        if not whole.endswith(INCOMPLETE):
            yield from self._send(whole)

    def rest(self) -> Iterator[str]:
        """What was held back, at the end."""
        yield from self._send(self._whole())

    def _whole(self) -> str:
        return self._model.detokenize([*self._ids, *self.tokens])

    def _send(self, whole: str) -> Iterator[str]:
        piece, self._sent = whole[len(self._sent) :], max(whole, self._sent, key=len)
        if piece:
            yield piece
