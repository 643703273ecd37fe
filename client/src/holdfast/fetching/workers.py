"""Threads that an interrupt does not wait for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def worker_threads(n_threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool. An error waits until every thread has stopped; an interrupt leaves them to the end of the process."""
    pool = ThreadPoolExecutor(n_threads, f"holdfast-{name}")
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    pool.shutdown()
