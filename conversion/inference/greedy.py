"""What a model writes when it always takes the likeliest token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conversion.inference.fidelity import top2_margin
from conversion.inference.sandbox import Sandbox

PROMPTS = ["And it came to pass", "It is a truth universally acknowledged", "The capital of France is"]
N_NEW_TOKENS = 24


@dataclass(frozen=True)
class Continuation:
    """The tokens after a prompt, by how many nats each led the second best, and all of it as text."""

    prompt: str
    tokens: tuple[int, ...]
    margins: tuple[float, ...]
    text: str


def continue_greedily(
    model: Sandbox, prompt: str, ids: Sequence[int], n_tokens: int = N_NEW_TOKENS
) -> Continuation:
    """At most `n_tokens` after the prompt whose ids are given, fewer where the text or the context ends.

    Raises EngineError.
    """
    tokens: list[int] = []
    margins: list[float] = []
    fed, extend = list(ids), False
    room = model.facts.n_context - len(ids)
    while len(tokens) < min(n_tokens, room):
        (rows,) = model.logits(fed, first=len(fed) - 1, extend=extend)
        token = int(np.argmax(rows[0]))
        if model.is_end(token):
            break
        tokens.append(token)
        margins.append(top2_margin(rows[0]))
        fed, extend = [token], True
    begin = 1 if ids and ids[0] == model.facts.bos_id else 0
    text = model.detokenize([*ids[begin:], *tokens])
    return Continuation(prompt, tuple(tokens), tuple(margins), text.strip())
