"""An engine in a throw-away child with one artifact, spoken to in the words of engine.Model.

Whatever a file does to the engine, there is an answer of bounded size or an EngineError (process.py). What the child
may do is confine.py's; probe.py tries whether that holds.
"""

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from conversion.inference.confine import MIB, Limits
from conversion.inference.conversation import Answer, printable
from conversion.inference.engine import NEEDS_SCRATCH, EngineError, EngineReport, Facts
from conversion.inference.onnx_inputs import Feed
from conversion.inference.passes import Passage, Passes, Streaming
from conversion.inference.process import ChildProcess
from conversion.inference.provisions import limits_for, needed_files, size_of
from conversion.inference.starting import starting

SHARED_BYTES = 8 * MIB
MAX_SUMS = 1 << 28
MAX_OUTPUTS = 1 << 24
"""Numbers that a network may answer at once: 64 MB."""
MAX_VOCABULARY, MAX_CONTEXT = 2**24, 2**31 - 1

Rows = NDArray[np.float32]


class Sandbox(ChildProcess):
    """A running child. A context manager: afterwards the child and all its processes are gone.

    Raises EngineError from every method; after `engine-crashed`, `engine-timeout` and `engine-answer` the child is
    already gone. `loading_seconds` is what the load took.
    """

    def __init__(
        self,
        engine: str,
        path: Path,
        *,
        limits: Limits | None = None,
        threads: int = 1,
        shared_bytes: int = SHARED_BYTES,
        observe: bool = False,
        streaming: Streaming | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        self.path, self._observe, self._beside = path, observe, tuple(beside)
        self.streaming, self._passes = streaming, Passes(streaming)
        self.limits = limits or limits_for(sum(map(size_of, (path, *beside))), engine)
        self._scratch = (
            tempfile.TemporaryDirectory(prefix="holdfast-engine-") if engine in NEEDS_SCRATCH else None
        )
        with ExitStack() as stack:
            with starting(n_children=1):
                super().__init__(shared_bytes)
                stack.callback(self.close)
                self._start(engine, threads)
            self._load()
            stack.pop_all()

    def _start(self, engine: str, threads: int) -> None:
        """The engine is imported, and the child confined."""
        scratch = self._scratch.name if self._scratch else ""
        self.report = _report(
            self._ask(do="start", engine=engine, threads=threads, scratch=scratch).object("report")
        )
        self._started = time.monotonic()
        self._deadline = self._started + self.limits.wall_seconds
        resident = self.streaming.resident_bytes if self.streaming else 0
        files = list(map(str, [*needed_files(self.path.resolve()), *(one.resolve() for one in self._beside)]))
        limits = asdict(replace(self.limits, n_threads=self.limits.n_threads + threads))
        # Asked before the file is opened, so that no file can make the engine lie about it.
        confined = self._ask(
            do="confine", files=files, limits=limits, observe=self._observe, resident=resident
        )
        self.isolation: dict[str, str] = dict(confined)

    def _load(self) -> None:
        self.facts = _facts(self._ask(do="load", path=str(self.path.resolve())))
        self.loading_seconds = time.monotonic() - self._started
        if self.facts.n_vocab * 4 > self._shared_bytes:
            raise EngineError("load-refused", f"a vocabulary of {self.facts.n_vocab} tokens is too large")

    def close(self) -> None:
        super().close()
        if self._scratch:
            self._scratch.cleanup()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return self._ask(do="tokenize", text=text, special=special).wholes("value")

    def detokenize(self, ids: Sequence[int]) -> str:
        return self._ask(do="detokenize", ids=list(ids)).text("value")

    def is_end(self, token: int) -> bool:
        return bool(self._ask(do="is_end", token=token)["value"])

    def logits(self, ids: Sequence[int], *, first: int = 0, extend: bool = False) -> Iterator[Rows]:
        """float32 (n, n_vocab) pieces of at most `shared_bytes`, together the positions from `first` on.

        A piece is a copy. Finish one call before the next.
        """
        passage = tuple(map(int, ids)), first
        if self.streaming is None or extend:
            offset = self._decode(len(ids) - first, do="decode", ids=passage[0], first=first, extend=extend)
        else:
            offset = self._pass_with(passage)
        n_rows, n_vocab = len(ids) - first, self.facts.n_vocab
        at_once = self._shared_bytes // max(4, n_vocab * 4)
        for start in range(0, n_rows, at_once):
            count = min(at_once, n_rows - start)
            self._ask(do="rows", start=offset + start, count=count)
            values = np.frombuffer(self._shared, np.float32, count * n_vocab)
            yield values.reshape(count, n_vocab).copy()

    def foresee(self, passages: Iterable[Passage]) -> None:
        """Says what `logits` will be asked, in that order: a streamed model reads its file once for many of them."""
        self._passes.foresee(passages)

    def _pass_with(self, passage: Passage) -> int:
        """The first row of the passage among those that the child holds, after a pass if it does not."""
        if passage not in self._passes.held:
            together = self._passes.together_with(passage)
            self._decode(self._passes.hold(together), do="decode_all", passages=together)
        return self._passes.held[passage]

    def _decode(self, n_expected: int, **request: Any) -> int:
        n_rows = self._ask(**request).whole("rows")
        if n_rows != n_expected:
            self._give_up("engine-answer", f"the engine answered {n_rows} rows for {n_expected} positions")
        return 0

    def embed(self, ids: Sequence[int]) -> tuple[Rows, str]:
        """float32 (n_rows, width) of the text with these ids, and how they were pooled: see engine.Embedding."""
        answer = self._ask(do="embed", ids=list(map(int, ids)))
        shape = answer.whole("n_rows"), answer.whole("width")
        if min(shape) < 1 or math.prod(shape) * 4 > self._shared_bytes:
            self._give_up("engine-answer", f"the engine answered vectors of shape {shape}")
        values = np.frombuffer(self._shared, np.float32, math.prod(shape))
        return values.reshape(shape).copy(), answer.text("pooling")[:20]

    def add_adapter(self, path: Path) -> None:
        """llama.cpp applies the GGUF adapter, one of those `beside`, from now on. EngineError `load-refused`."""
        self._ask(do="add_adapter", path=str(path.resolve()))

    def run(self, feeds: Sequence[Feed]) -> dict[str, Rows]:
        """The outputs of a network on these inputs, by name, as float32. EngineError `decode-failed`."""
        answer = self._ask(do="run", feeds=[feed.as_json() for feed in feeds]).objects("outputs")
        shapes = [tuple(one.wholes("shape")) for one in answer]
        if any(min(shape, default=0) < 0 for shape in shapes) or sum(map(math.prod, shapes)) > MAX_OUTPUTS:
            self._give_up("engine-answer", f"the engine offers outputs of shapes {shapes[:4]}")
        return {
            one.text("name"): self._fetch(shape, do="output_values", index=index)
            for index, (one, shape) in enumerate(zip(answer, shapes, strict=True))
        }

    def activation_sums(self) -> Iterator[tuple[str, Rows, list[int]]]:
        """Of each weight, float32 (n_matrices, n_cols) sums of squared activations and their counts of rows.

        Only of a sandbox that was told to `observe`.
        """
        for one in self._ask(do="sums").objects("sums"):
            name, shape = one.text("name"), (one.whole("n_matrices"), one.whole("n_cols"))
            yield name, self._sum_values(name, shape), one.wholes("counts")

    def _sum_values(self, name: str, shape: tuple[int, int]) -> Rows:
        if not 0 < math.prod(shape) <= MAX_SUMS:
            self._give_up("engine-answer", f"the engine offers sums of shape {shape} for {name[:100]}")
        return self._fetch(shape, do="sum_values", name=name)

    def _fetch(self, shape: tuple[int, ...], **request: Any) -> Rows:
        """float32 of that shape, asked for in pieces that the shared memory holds."""
        n_values, at_once = math.prod(shape), self._shared_bytes // 4
        values = np.empty(n_values, np.float32)
        for start in range(0, n_values, at_once):
            count = min(at_once, n_values - start)
            self._ask(start=start, count=count, **request)
            values[start : start + count] = np.frombuffer(self._shared, np.float32, count)
        return values.reshape(shape)

    def attempt(self, name: str, target: str) -> Answer:
        """What an attack of attacks.py `got`, or what `refused` it. Only of the engine "probe"."""
        return self._ask(do="attempt", name=name, target=target)


def _facts(answer: Answer) -> Facts:
    told = answer.object("facts")
    values = {one.name: told[one.name] for one in fields(Facts)}
    wrong = [one.name for one in fields(Facts) if not isinstance(values[one.name], cast("type", one.type))]
    if wrong:
        raise EngineError("engine-answer", f"the engine's {wrong[0]} is {str(values[wrong[0]])[:60]!r}")
    told.whole("n_vocab", 0, MAX_VOCABULARY)  # 0: a network that reads no tokens
    told.whole("n_context", 0, MAX_CONTEXT)
    return Facts(**values | {"description": printable(values["description"])})


def _report(answer: dict[str, Any]) -> EngineReport:
    return EngineReport(**answer | {"cpu_features": tuple(answer["cpu_features"])})
