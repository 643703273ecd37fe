"""Live progress lines by rich: one per file under way, one for the total with rate and time to go.

Imported only when a terminal is watching, because rich takes longer to import than a small pull takes to run.
"""

from __future__ import annotations

from collections.abc import Iterable

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

from holdfast.progress import Progress
from holdfast.text import count, format_bytes, printable, shorten

NAME_WIDTH = 34


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
        self._tasks: dict[str, TaskID] = {}
        self._total = self._bars.add_task(count(n_files, "file"), total=total_bytes)
        self._bars.start()

    def on_started(self, path: str, size_bytes: int, present_bytes: int) -> None:
        if present_bytes < size_bytes:
            self._tasks[path] = self._bars.add_task(
                printable(path), total=size_bytes, completed=present_bytes
            )
        self._bars.update(self._total, completed=self.done_bytes)

    def on_advanced(self, path: str, n_bytes: int) -> None:
        if path in self._tasks:
            self._bars.advance(self._tasks[path], n_bytes)
        self._bars.update(self._total, completed=self.done_bytes)

    def on_finished(self, path: str) -> None:
        task = self._tasks.pop(path, None)
        if task is not None:
            self._bars.remove_task(task)
        if self.tell_finished:
            self.on_say(f"  verified  {format_bytes(self.sizes[path]):>9}  {printable(path)}")

    def on_say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._bars.stop()
