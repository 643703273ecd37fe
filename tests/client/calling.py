"""The command line without a process of its own: the same code and the same streams, in a fifth of the time.

For commands whose doors are also tried as processes (tests/client/test_against_server.py).
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from tests.client.running import Home, Result


class Caller(Home):
    """A person's machine whose commands run in this process."""

    def run(self, *arguments: str, **env: str) -> Result:
        """Runs to its end."""
        from holdfast.cli import main

        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            _surroundings(self.folder, {**self.environment(), **env}),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            try:
                code = main(arguments)
            except SystemExit as error:
                code = int(error.code or 0)
        return Result(code, stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def _surroundings(folder: Path, environ: dict[str, str]) -> Iterator[None]:
    """The working folder and the variables of a process that starts there, until the end."""
    before, here = dict(os.environ), Path.cwd()
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.chdir(here)
