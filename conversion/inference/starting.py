"""What starting engines took within a judgement: their children, until they are confined, and their self-tests.

Counted by the clock of whoever judges, in its own context: two judgements in two threads are counted apart.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Starts:
    """Seconds, and how many children were started in them."""

    seconds: float = 0.0
    n_children: int = 0
    _depth: int = 0


_counted: ContextVar[Starts | None] = ContextVar("starts", default=None)


@contextmanager
def counting_starts() -> Iterator[Starts]:
    """All that starts within the body is added up, and counts for whoever counts around it as well."""
    starts, around = Starts(), _counted.get()
    token = _counted.set(starts)
    try:
        yield starts
    finally:
        _counted.reset(token)
        if around is not None:
            around.seconds += starts.seconds
            around.n_children += starts.n_children


@contextmanager
def starting(n_children: int = 0) -> Iterator[None]:
    """The body is a start, or a part of one that is already being counted."""
    starts = _counted.get()
    if starts is None:
        yield
        return
    starts.n_children += n_children
    starts._depth += 1
    began = time.perf_counter()
    try:
        yield
    finally:
        starts._depth -= 1
        if not starts._depth:
            starts.seconds += time.perf_counter() - began
