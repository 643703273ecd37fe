"""The inside of the sandbox: a script run as `python -I child.py REQUESTS ANSWERS LOGITS`, never imported by us.

It reads requests from one pipe and writes answers to another, each a little-endian uint32 length and that many
bytes of JSON. Logits go into shared memory of a fixed size. Standard output goes nowhere; what the engine prints
on standard error is kept by the parent, to be quoted when the engine dies.

| request | answer |
|---|---|
| start: engine, threads, scratch | report |
| load: path, limits, observe | facts, isolation; everything is confined before the path is opened |
| tokenize: text, special · detokenize: ids · is_end: token | value |
| decode: ids, first, extend | rows |
| rows: start, count | {} and that many rows of logits at the beginning of the shared memory |
| sums | of each weight that was observed: name, n_matrices, n_cols, counts |
| sum_values: name, start, count | {} and those float32 values at the beginning of the shared memory |
"""

import os
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

ROOT = Path(__file__).resolve().parents[2]
MAX_MESSAGE_BYTES = 1 << 20

if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    # ggml's abort would start a debugger for a backtrace, which the sandbox forbids: then its signal is another one.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    sys.path.insert(0, str(ROOT))

import json  # noqa: E402
import mmap  # noqa: E402

from conversion.inference.confine import Limits, confine, start_alone  # noqa: E402
from conversion.inference.engine import Engine, EngineError, Model, start_engine  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from conversion.inference.activations import Observer
    from conversion.inference.llamacpp import LlamaCpp


class Child:
    """One engine, at most one model, and the logits of its last call."""

    def __init__(self, logits_descriptor: int) -> None:
        self.isolation = start_alone()
        self.shared = mmap.mmap(logits_descriptor, 0)
        self.engine: Engine | None = None
        self.model: Model | None = None
        self.rows = memoryview(b"")
        self.scratch: str | None = None
        self.observer: Observer | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        handler: Callable[..., dict[str, Any]] = getattr(self, "do_" + request.pop("do"))
        try:
            return handler(**request)
        except EngineError as error:
            return {"error": error.code, "message": str(error), "facts": error.facts}
        except MemoryError:
            return {"error": "engine-out-of-memory", "message": "the memory limit was reached", "facts": {}}

    def do_start(self, engine: str, threads: int, scratch: str | None) -> dict[str, Any]:
        self.scratch = scratch
        if scratch:
            os.environ.update(TMPDIR=scratch, HOME=scratch)
        self.engine = start_engine(engine, threads)
        return {"report": self.engine.report.as_json()}

    def do_load(self, path: str, limits: dict[str, Any], observe: bool) -> dict[str, Any]:
        if self.engine is None:
            raise EngineError("engine-missing", "no engine was started")
        if observe:
            self.observer = _observer(self.engine)
        self.isolation |= confine(Limits(**limits), [path, *readable_folders()], self.scratch)
        if self.observer is None:
            self.model = self.engine.load(path)
        else:
            self.model = cast("LlamaCpp", self.engine).load(path, self.observer)
        return {"facts": asdict(self.model.facts), "isolation": self.isolation}

    def do_tokenize(self, text: str, special: bool) -> dict[str, Any]:
        return {"value": self._loaded().tokenize(text, special=special)}

    def do_detokenize(self, ids: list[int]) -> dict[str, Any]:
        return {"value": self._loaded().detokenize(ids)}

    def do_is_end(self, token: int) -> dict[str, Any]:
        return {"value": self._loaded().is_end(token)}

    def do_decode(self, ids: list[int], first: int, extend: bool) -> dict[str, Any]:
        self.rows = self._loaded().logits(ids, first=first, extend=extend)
        if self.observer is not None:
            self.observer.check()
        return {"rows": len(ids) - first}

    def do_rows(self, start: int, count: int) -> dict[str, Any]:
        row_bytes = self._loaded().facts.n_vocab * 4
        self.shared[: count * row_bytes] = self.rows[start * row_bytes : (start + count) * row_bytes]
        return {}

    def do_sums(self) -> dict[str, Any]:
        sums = self.observer.sums if self.observer else {}
        return {
            "sums": [
                {"name": name, "n_matrices": len(one.values), "n_cols": one.values.shape[1],
                 "counts": one.counts.tolist()}
                for name, one in sums.items()
            ]
        }  # fmt: skip

    def do_sum_values(self, name: str, start: int, count: int) -> dict[str, Any]:
        if self.observer is None:
            raise EngineError("load-refused", "nothing was observed")
        self.shared[: count * 4] = (
            self.observer.sums[name].values.reshape(-1)[start : start + count].tobytes()
        )
        return {}

    def _loaded(self) -> Model:
        if self.model is None:
            raise EngineError("load-refused", "nothing was loaded")
        return self.model


def _observer(engine: Engine) -> "Observer":
    """Imports numpy, so it is called before the child is confined."""
    if engine.report.name != "llama.cpp":
        raise EngineError(
            "engine-mismatch", f"{engine.report.name} shows nobody its activations; use llama.cpp"
        )
    from conversion.inference.activations import Observer

    return Observer(cast("LlamaCpp", engine).library)


def readable_folders() -> list[str]:
    """Where Python and shared libraries are found: needed by engines that import while they load."""
    return [
        sys.prefix,
        sys.base_prefix,
        str(ROOT / "conversion"),
        "/usr/lib",
        "/lib",
        "/lib64",
        "/dev/urandom",
    ]


def read_exactly(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = os.read(descriptor, length - len(data))
        if not part:
            sys.exit(0)  # the parent closed the pipe: nobody waits for an answer
        data += part
    return data


def main(requests: int, answers: int, logits: int) -> None:
    child = Child(logits)
    while True:
        (length,) = struct.unpack("<I", read_exactly(requests, 4))
        request = json.loads(read_exactly(requests, length))
        data = json.dumps(child.answer(request)).encode()
        os.write(answers, struct.pack("<I", len(data)))
        view = memoryview(data)
        while view:
            view = view[os.write(answers, view) :]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
