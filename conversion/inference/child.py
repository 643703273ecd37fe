"""The inside of the sandbox: a script run as `python -I child.py REQUESTS ANSWERS LOGITS`, never imported by us.

It reads requests from one pipe and writes answers to another, each a little-endian uint32 length and that many
bytes of JSON. Logits go into shared memory of a fixed size. Standard output goes nowhere; what the engine prints
on standard error is kept by the parent, to be quoted when the engine dies.

| request | answer |
|---|---|
| start: engine, threads, scratch | report |
| confine: files, limits, observe, resident | what was granted: from here on only `files` can be read |
| load: path | facts |
| attempt: name, target | what an attacker got, or what refused it: the probe's engine only |
| tokenize: text, special · detokenize: ids · is_end: token | value |
| encode: texts, special, parse · decode_texts: batches | values |
| describe | what a vocabulary says of itself |
| render: template, conversations, variables, cpu_seconds | values; the process ends if that takes more CPU time |
| decode: ids, first, extend | rows |
| decode_all: passages | rows, of all passages one after the other, from one pass through a model that is streamed |
| rows: start, count | {} and that many rows of logits at the beginning of the shared memory |
| embed: ids | n_rows, width, pooling, and those float32 values at the beginning of the shared memory |
| add_adapter: path | {}; llama.cpp only |
| run: feeds | of each output: name, dtype, shape |
| output_values: index, start, count | {} and those values as float32 at the beginning of the shared memory |
| sums | of each weight that was observed: name, n_matrices, n_cols, counts |
| sum_values: name, start, count | {} and those float32 values at the beginning of the shared memory |
"""

import os
import signal
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

ROOT = Path(__file__).resolve().parents[2]
MAX_MESSAGE_BYTES = 1 << 20

if __name__ == "__main__":
    os.environ.update(
        OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", RAYON_NUM_THREADS="1", HF_HUB_OFFLINE="1"
    )
    # ggml's abort would start a debugger for a backtrace, which the sandbox forbids: then its signal is another one.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    sys.path.insert(0, str(ROOT))

# Only now: these read the environment and the path that were just set.
import json  # noqa: E402
import mmap  # noqa: E402

from conversion.inference.confine import Limits, confine, start_alone  # noqa: E402
from conversion.inference.engine import Engine, EngineError, Model, TextModel, start_engine  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from conversion.inference.activations import Observer
    from conversion.inference.attacks import Attacker
    from conversion.inference.engine import Embedder
    from conversion.inference.llamacpp import LlamaCpp, LlamaModel
    from conversion.inference.onnxruntime import OnnxSession
    from conversion.inference.paging import Pager
    from conversion.inference.streaming import StreamedModel


class Child:
    """One engine, at most one model, and the logits of its last call."""

    def __init__(self, logits_descriptor: int) -> None:
        self.spaces, self.isolation = start_alone(), dict[str, str]()
        self.shared = mmap.mmap(logits_descriptor, 0)
        os.close(logits_descriptor)
        self.engine: Engine | None = None
        self.model: Model | None = None
        self.rows = memoryview(b"")
        self.scratch = ""
        self.observer: Observer | None = None
        self.pager: Pager | None = None
        self.outputs: list[Any] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        handler: Callable[..., dict[str, Any]] = getattr(self, "do_" + request.pop("do"))
        try:
            return handler(**request)
        except EngineError as error:
            return {"error": error.code, "message": str(error), "facts": error.facts}
        except MemoryError:
            return {"error": "engine-out-of-memory", "message": "the memory limit was reached", "facts": {}}

    def do_start(self, engine: str, threads: int, scratch: str) -> dict[str, Any]:
        self.scratch = scratch
        if scratch:
            os.environ.update(TMPDIR=scratch, HOME=scratch)
        self.engine = start_engine(engine, threads)
        return {"report": self.engine.report.as_json()}

    def do_confine(
        self, files: list[str], limits: dict[str, Any], observe: bool, resident: int
    ) -> dict[str, Any]:
        if self.engine is None:
            raise EngineError("engine-missing", "no engine was started")
        if observe:
            self.observer = _observer(self.engine)
        self.pager = _pager(self.engine, resident) if resident else None
        self.isolation = confine(self.spaces, Limits(**limits), files, readable_paths(), self.scratch)
        return dict(self.isolation)

    def do_load(self, path: str) -> dict[str, Any]:
        if self.engine is None or not self.isolation:
            raise EngineError("load-refused", "nothing is opened before the process is confined")
        if self.observer is None and self.pager is None:
            self.model = self.engine.load(path)
        else:
            self.model = cast("LlamaCpp", self.engine).load(path, self.observer, self.pager)
        return {"facts": asdict(self.model.facts)}

    def do_attempt(self, name: str, target: str) -> dict[str, Any]:
        return cast("Attacker", self._loaded()).attempt(name, target)

    def do_tokenize(self, text: str, special: bool) -> dict[str, Any]:
        return {"value": self._loaded().tokenize(text, special=special)}

    def do_detokenize(self, ids: list[int]) -> dict[str, Any]:
        return {"value": self._loaded().detokenize(ids)}

    def do_is_end(self, token: int) -> dict[str, Any]:
        return {"value": self._loaded().is_end(token)}

    def do_encode(self, texts: list[str], special: bool, parse: bool) -> dict[str, Any]:
        return {"values": self._text().encode(texts, special=special, parse=parse)}

    def do_decode_texts(self, batches: list[list[int]]) -> dict[str, Any]:
        return {"values": self._text().decode(batches)}

    def do_describe(self) -> dict[str, Any]:
        return {"vocabulary": asdict(self._text().describe())}

    def do_render(
        self,
        template: str,
        conversations: list[dict[str, Any]],
        variables: dict[str, Any],
        cpu_seconds: float,
    ) -> dict[str, Any]:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # SIGPROF ends the process
        try:
            return {"values": self._text().render(template, conversations, variables)}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def do_decode(self, ids: list[int], first: int, extend: bool) -> dict[str, Any]:
        self.rows = self._loaded().logits(ids, first=first, extend=extend)
        if self.observer is not None:
            self.observer.check()
        return {"rows": len(ids) - first}

    def do_decode_all(self, passages: list[tuple[list[int], int]]) -> dict[str, Any]:
        self.rows = cast("StreamedModel", self._loaded()).logits_of(passages)
        return {"rows": sum(len(ids) - first for ids, first in passages)}

    def do_rows(self, start: int, count: int) -> dict[str, Any]:
        row_bytes = self._loaded().facts.n_vocab * 4
        self.shared[: count * row_bytes] = self.rows[start * row_bytes : (start + count) * row_bytes]
        return {}

    def do_embed(self, ids: list[int]) -> dict[str, Any]:
        model = self._loaded()
        if not hasattr(model, "embed"):
            raise EngineError("decode-failed", "this engine gives no embeddings")
        found = cast("Embedder", model).embed(ids)
        if len(found.data) > len(self.shared):
            raise EngineError("decode-failed", f"a vector of {len(found.data)} bytes is too large")
        self.shared[: len(found.data)] = found.data
        return {"n_rows": found.n_rows, "width": found.width, "pooling": found.pooling}

    def do_add_adapter(self, path: str) -> dict[str, Any]:
        cast("LlamaModel", self._loaded()).add_adapter(path)
        return {}

    def do_run(self, feeds: list[dict[str, Any]]) -> dict[str, Any]:
        from conversion.inference.onnx_inputs import Feed

        session = cast("OnnxSession", self._loaded())
        outputs = session.run([Feed(**feed | {"shape": tuple(feed["shape"])}) for feed in feeds])
        self.outputs = [values for _, values in outputs]
        return {
            "outputs": [
                {"name": name, "dtype": str(values.dtype), "shape": list(values.shape)}
                for name, values in outputs
            ]
        }

    def do_output_values(self, index: int, start: int, count: int) -> dict[str, Any]:
        values = self.outputs[index].reshape(-1)[start : start + count].astype("<f4")
        self.shared[: values.nbytes] = values.tobytes()
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

    def _text(self) -> TextModel:
        return cast("TextModel", self._loaded())

    def _loaded(self) -> Model:
        if self.model is None:
            raise EngineError("load-refused", "nothing was loaded")
        return self.model


def _pager(engine: Engine, resident: int) -> "Pager":
    """Made before the child is confined, as it looks at its own mappings."""
    if engine.report.name != "llama.cpp":
        raise EngineError("engine-mismatch", f"{engine.report.name} cannot stream a model; use llama.cpp")
    from conversion.inference.paging import Pager

    return Pager(cast("LlamaCpp", engine).library, resident)


def _observer(engine: Engine) -> "Observer":
    """Imports numpy, so it is called before the child is confined."""
    if engine.report.name != "llama.cpp":
        raise EngineError(
            "engine-mismatch", f"{engine.report.name} shows nobody its activations; use llama.cpp"
        )
    from conversion.inference.activations import Observer

    return Observer(cast("LlamaCpp", engine).library)


def readable_paths() -> list[str]:
    """Where Python and shared libraries are found: needed by engines that import while they load."""
    return [
        sys.prefix,
        sys.base_prefix,
        str(ROOT / "conversion"),
        "/usr/lib",
        "/lib",
        "/lib64",
        "/dev/urandom",
        "/dev/null",
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
