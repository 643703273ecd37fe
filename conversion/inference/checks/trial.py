"""What the checks of one artifact share: the file, its parent, the children that run them, and the report."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversion.formats.gguf import GgufHeader
from conversion.inference.engine import EngineError
from conversion.inference.limits import Limits, read_limits
from conversion.inference.report import Check, Report
from conversion.inference.sandbox import Sandbox

N_ATTEMPTS = 2
"""A crash is tried once more: it may have been this machine. Never more often."""

OnProgress = Callable[[str, float], None]
"""Called with a phase and the share of the whole that is done, 0 to 1."""


@dataclass(frozen=True)
class Reference:
    """The parent in a form that an engine runs, and what the report says of it.

    `tokenizer` is the parent's own tokenizer file, for when `engine` would answer with the artifact's instead.
    """

    engine: str
    path: Path
    dtypes: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None


@dataclass
class Trial:
    """One run of all checks. `header` and `artifact` are set by the check that can; children live on `stack`."""

    report: Report
    path: Path
    reference: Reference | None
    sha256: str | None
    threads: int
    on_progress: OnProgress
    stack: ExitStack
    limits: Limits = field(default_factory=read_limits)
    header: GgufHeader = field(init=False)
    artifact: Sandbox = field(init=False)
    parent: Sandbox | None = None

    def open(self, engine: str, path: Path) -> Sandbox:
        """A child that loaded `path`. Raises EngineError; a crash was then seen twice."""
        for _ in range(N_ATTEMPTS - 1):
            try:
                return self.stack.enter_context(Sandbox(engine, path, threads=self.threads))
            except EngineError as error:
                if error.code != "engine-crashed":
                    raise
        return self.stack.enter_context(Sandbox(engine, path, threads=self.threads))


def record(check: Check, error: EngineError) -> None:
    """The check failed, or could not be made if this machine or engine is at fault."""
    if error.says_nothing_of_the_file:
        check.error(str(error), error.facts, code=error.code)
    else:
        check.fail(str(error), error.facts, code=error.code)
