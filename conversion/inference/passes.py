"""Which windows go through a streamed model together: as many as its memory allows, in the order they are asked for.

A pass reads the whole file, so a model is told beforehand what it will be asked (`foresee`), and the answers of one
pass are held by the child until the next.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

Passage = tuple[tuple[int, ...], int]
"""Token ids, and the first position whose logits are wanted."""


@dataclass(frozen=True)
class Streaming:
    """How a model is run that does not fit: weights resident at a time, and tokens of all windows of one pass."""

    resident_bytes: int
    n_tokens: int


@dataclass
class Passes:
    """`held`: passage -> its first row among the rows that the child holds now."""

    streaming: Streaming | None = None
    foreseen: list[Passage] = field(default_factory=list)
    held: dict[Passage, int] = field(default_factory=dict)
    n_passes: int = 0

    def foresee(self, passages: Iterable[Passage]) -> None:
        self.foreseen = list(passages)

    def together_with(self, passage: Passage) -> list[Passage]:
        """The passages of the next pass: this one, and those foreseen after it as far as there is room."""
        chosen, room = [passage], self._room() - len(passage[0])
        after = self.foreseen[self.foreseen.index(passage) + 1 :] if passage in self.foreseen else []
        for other in after:
            # llama.cpp would split a batch of windows of unlike lengths, and read the weights once for each part.
            if len(other[0]) > room or len(other[0]) != len(passage[0]):
                break
            chosen.append(other)
            room -= len(other[0])
        return chosen

    def hold(self, passages: list[Passage]) -> int:
        """The child holds the rows of these, one after the other; how many rows there are."""
        self.held, n_rows = {}, 0
        for ids, first in passages:
            self.held[ids, first] = n_rows
            n_rows += len(ids) - first
        self.n_passes += 1
        return n_rows

    def _room(self) -> int:
        return self.streaming.n_tokens if self.streaming else 0
