"""Live progress lines by rich: one per file under way, one for the total with rate and time to go.

Imported only when a terminal is watching, because rich takes longer to import than a small pull takes to run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from holdfast.fetching.progress import Progress
from holdfast.text import count, format_bytes, printable, shorten

NAME_WIDTH = 34
VERIFIED_WIDTH = 24  # of what stands before a verified file's name
SHOW_EVERY_SECONDS = 0.1
LINE_AFTER_SECONDS = 0.3


@dataclass
class _UnderWay:
    """A file that has begun and not ended; its line once it has one."""

    since: float
    size_bytes: int
    done_bytes: int
    task: TaskID | None = None


class _Name(TextColumn):
    """The file's name as plain text: markup in a name is only text."""

    def __init__(self) -> None:
        super().__init__("{task.description}", markup=False)

    def render(self, task: Task) -> Text:
        return Text(shorten(task.description, NAME_WIDTH).ljust(NAME_WIDTH))


class _Lines(RichProgress):
    """The total, which is the first task, is shown last."""

    def get_renderables(self) -> Iterable[RenderableType]:
        tasks = self.tasks
        yield self.make_tasks_table([*tasks[1:], *tasks[:1]])


class LiveProgress(Progress):
    """Files under way, finished ones above them, the total last."""

    def __init__(self, total_bytes: int, n_files: int, *, color: bool, tell_finished: bool) -> None:
        super().__init__(total_bytes, n_files, tell_finished=tell_finished)
        self._console = Console(stderr=True, no_color=not color, highlight=False)
        self._bars = _Lines(
            _Name(),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            refresh_per_second=5,
            speed_estimate_period=15,
            transient=True,
        )
        self._under_way: dict[str, _UnderWay] = {}
        self._shown_at = time.monotonic()
        self._total = self._bars.add_task(count(n_files, "file"), total=total_bytes)
        self._bars.start()

    def on_started(self, path: str, size_bytes: int, present_bytes: int) -> None:
        self._under_way[path] = _UnderWay(time.monotonic(), size_bytes, present_bytes)
        self._show()

    def on_advanced(self, path: str, n_bytes: int) -> None:
        if path in self._under_way:
            self._under_way[path].done_bytes += n_bytes
        self._show()

    def on_finished(self, path: str) -> None:
        file = self._under_way.pop(path, None)
        if file is not None and file.task is not None:
            self._bars.remove_task(file.task)
        if self.is_worth_a_line(path):
            name = shorten(printable(path), self._console.width - VERIFIED_WIDTH)
            self.on_say(f"  verified  {format_bytes(self.sizes[path]):>9}  {name}")

    def on_say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _show(self) -> None:
        """Brings the bars up to date, some times a second: a thousand small files would otherwise cost ten times the
        CPU time of their download. A file gets its line when it has taken a moment.
        """
        now = time.monotonic()
        if now - self._shown_at < SHOW_EVERY_SECONDS:
            return
        self._shown_at = now
        for path, file in self._under_way.items():
            if file.task is None and now - file.since >= LINE_AFTER_SECONDS:
                file.task = self._bars.add_task(
                    printable(path), total=file.size_bytes, completed=file.done_bytes
                )
            elif file.task is not None:
                self._bars.update(file.task, completed=file.done_bytes)
        self._bars.update(self._total, completed=self.done_bytes)

    def close(self) -> None:
        self._bars.stop()
