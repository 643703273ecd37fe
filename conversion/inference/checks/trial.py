"""What the checks of one artifact share: the file, its parent, the children that run them, and the report."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.formats.gguf import GgufHeader
from conversion.inference.engine import EngineError
from conversion.inference.fidelity import Comparison
from conversion.inference.limits import Limits, Yardstick, read_limits
from conversion.inference.report import Check, Report
from conversion.inference.sandbox import Sandbox
from conversion.inference.starting import Starts
from conversion.inference.subjects import Look, Subject

if TYPE_CHECKING:
    from conversion.inference.parents import ParentTensors
    from conversion.inference.readings import Reading

N_ATTEMPTS = 2
"""A crash is tried once more: it may have been this machine. Never more often."""

OnProgress = Callable[[str, float], None]
"""Called with a phase and the share of the whole that is done, 0 to 1."""


@dataclass(frozen=True)
class Reference:
    """The parent in a form that an engine runs, and what the report says of it.

    tokenizer: the parent's own tokenizer file, for when `engine` would answer with the artifact's instead.
    reading: what the parent said on the texts, recorded before; then the parent is not run at all.
    yardstick: how far our own requantisation of the parent is from it.
    tensors: the parent's weights, by the artifact's names.
    is_plain: the artifact is our own conversion without an importance matrix, so its bytes can be told beforehand.
    base: what an adapter is added to, where `path` is the adapter that it was made of.
    relation: what the artifact is to it, as a model card says: only of a quant is it asked to say the same.
    """

    engine: str
    path: Path
    dtypes: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None
    reading: "Reading | None" = None
    yardstick: Yardstick | None = None
    tensors: "ParentTensors | None" = None
    is_plain: bool = False
    relation: str = "quantized"
    base: Path | None = None


@dataclass
class Trial:
    """One run of all checks; children live on `stack`.

    `kept` is what the steps of a kind hand on to the next; `tokens` and `rates` count what the artifact reads and
    writes.

    `look` and `subject` are there once integrity passed, `artifact` once load passed. `sha256` is one digest for a
    file, or one by path for a folder. `parent` runs when there is a reference without a reading. `memory_bytes` is
    what engines may take together, 0 for whatever is free; `max_seconds` what they should not take longer than.
    `starts` grows while the checks start engines.
    """

    report: Report
    path: Path
    reference: Reference | None
    sha256: str | Mapping[str, str] | None
    threads: int
    on_progress: OnProgress
    stack: ExitStack
    memory_bytes: int = 0
    max_seconds: float = math.inf
    starts: Starts = field(default_factory=Starts)
    limits: Limits = field(default_factory=read_limits)
    look: Look = field(init=False)
    subject: Subject = field(init=False)
    artifact: Sandbox = field(init=False)
    parent: Sandbox | None = None
    comparison: Comparison = field(default_factory=Comparison)
    kept: dict[str, Any] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)
    rates: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """The tokens that the body adds to `tokens[name]`, per CPU second that the artifact's child took for it."""
        before = self.artifact.usage.cpu_seconds
        yield
        seconds = self.artifact.usage.cpu_seconds - before
        self.rates[name] = self.tokens.get(name, 0) / seconds if seconds > 0 else 0.0

    @property
    def header(self) -> GgufHeader | None:
        """The GGUF's; None in another container."""
        return self.look.header

    @property
    def reading(self) -> "Reading | None":
        """What the parent said, when it need not run."""
        return self.reference.reading if self.reference else None

    def open(self, engine: str, path: Path, **given: Any) -> Sandbox:
        """A child that loaded `path`; `given` is what else Sandbox takes. EngineError; a crash was then seen twice."""
        for _ in range(N_ATTEMPTS - 1):
            try:
                return self._opened(engine, path, given)
            except EngineError as error:
                if error.code != "engine-crashed":
                    raise
        return self._opened(engine, path, given)

    def _opened(self, engine: str, path: Path, given: Mapping[str, Any]) -> Sandbox:
        return self.stack.enter_context(Sandbox(engine, path, threads=self.threads, **given))


@contextmanager
def parents_fault() -> Iterator[None]:
    """Whatever an engine finds wrong with the parent is no fault of the artifact: the EngineError says so."""
    try:
        yield
    except EngineError as error:
        if error.says_nothing_of_the_file:
            raise
        raise EngineError("parent-not-run", f"the parent could not be run: {error}", **error.facts) from error


def record(check: Check, error: EngineError) -> None:
    """The check failed, or could not be made if this machine or engine is at fault."""
    if error.says_nothing_of_the_file:
        check.error(str(error), error.facts, code=error.code)
    else:
        check.fail(str(error), error.facts, code=error.code)
