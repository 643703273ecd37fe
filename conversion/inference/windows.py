"""The evaluation texts as windows of token ids: what both models read, and which positions count.

As llama.cpp's `llama-perplexity --kl-divergence` does it (tools/perplexity/perplexity.cpp): windows do not overlap,
each begins with the beginning-of-text token where the model expects one, and only the second half of a window is
scored, so that every scored token has at least half a window of context.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from conversion.inference.engine import Facts

FOLDER = Path(__file__).with_name("texts")
TEXTS = {
    "kjv.txt": "240561644bf266591a7a621316b7e8c2d59761ca822ab391c8c9a0237132af52",
    "austen.txt": "8718857812badbc67eedc858809f1604476b8d168b247adb10671ddacc2f2a0a",
    "code.txt": "9911ef6675a272542ec2805c4208c124e457b38e6ce7218df50438f3125d6aed",
    "languages.txt": "10d26ed539006889ad561929771b5138dfa7e7a218a3539afd6063f8f700a4cc",
}
"""File name -> sha256. In every report, since figures are comparable only on the same text."""

MIN_WINDOW_TOKENS = 16
WINDOW_TOKENS = 256
MAX_WINDOWS = {"kjv.txt": 6, "austen.txt": 6, "code.txt": 3, "languages.txt": 3}
"""12 windows of English prose give 1,524 scored positions: a standard error of 3 to 4 % of the mean KL divergence,
enough for limits that are three times apart."""

PROSE = ("kjv.txt", "austen.txt")
"""What the limits hold for, since the figures they come from were measured on English prose. The other texts are
reported beside it, and may not be further away than fails."""

MAX_POSITIONS = sum(MAX_WINDOWS.values()) * WINDOW_TOKENS
WINDOW_SPEC = {"tokens": WINDOW_TOKENS, "per_text": MAX_WINDOWS, "scored": "second half"}
"""What figures depend on besides the texts."""


class Tokenizer(Protocol):
    def tokenize(self, text: str, *, special: bool) -> list[int]: ...


@dataclass(frozen=True)
class Window:
    """Token ids that both models read. Position p predicts `ids[p + 1]`; scored from `first` to the last but one."""

    ids: tuple[int, ...]
    text: str = ""

    @property
    def first(self) -> int:
        return len(self.ids) // 2

    @property
    def next_ids(self) -> tuple[int, ...]:
        """The right answers at the scored positions."""
        return self.ids[self.first + 1 :]

    @property
    def n_scored(self) -> int:
        return len(self.ids) - 1 - self.first


def read_texts() -> dict[str, str]:
    """The shipped texts by name. Raises ValueError if one is not, byte for byte, the one we publish figures on."""
    texts = {}
    for name, expected in TEXTS.items():
        data = (FOLDER / name).read_bytes()
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected:
            raise ValueError(f"evaluation text {name}: sha256 is {actual}, expected {expected}; reinstall it")
        texts[name] = data.decode()
    return texts


def cut_windows(tokenizer: Tokenizer, facts: Facts) -> Iterator[Window]:
    """The windows of all texts for a model of that context, by its parent's tokenizer. Remainders are dropped.

    None for a context of less than `MIN_WINDOW_TOKENS`: nothing could be said in it.
    """
    size = min(WINDOW_TOKENS, facts.n_context)
    if size < MIN_WINDOW_TOKENS:
        return
    start = [facts.bos_id] if facts.adds_bos and facts.bos_id is not None else []
    step = size - len(start)
    for name, text in read_texts().items():
        ids = tokenizer.tokenize(text, special=False)
        for index in range(min(MAX_WINDOWS[name], len(ids) // step)):
            yield Window((*start, *ids[index * step : (index + 1) * step]), name)
