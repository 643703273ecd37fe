"""A bar on stderr, where there is a terminal: what is being done, bytes, speed, time left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnBytes = Callable[[int], None]
Say = Callable[[str], None]


@contextmanager
def shown(total_bytes: int, *, is_quiet: bool) -> Iterator[tuple[OnBytes, Say]]:
    """Two functions: one takes the bytes done so far, one says what is being done now."""
    if is_quiet or not sys.stderr.isatty():
        yield (lambda done: None), (lambda text: None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("converting", total=total_bytes)
        yield (
            (lambda done: bar.update(task, completed=done)),
            (lambda text: bar.update(task, description=text)),
        )
