"""ONNX Runtime: runs an ONNX file on given inputs. Optional.

Settings are fixed so that two runs on one machine give the same figures: one thread unless told otherwise, one operator
after the other, no arena that keeps memory, graph optimisations that keep the meaning only. No custom operators are
ever registered, no execution provider but the processor's. Where the package onnx is installed its checker and its
shape inference look at the file first.
"""

import importlib.metadata
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.formats.onnx import OnnxTensor, read_model
from conversion.formats.source import FileSource
from conversion.inference.engine import EngineError, EngineReport, Facts
from conversion.inference.onnx_inputs import NUMPY_DTYPES, Feed, values_of

UNKNOWN = ("is not a registered function/op", "NOT_IMPLEMENTED", "Unsupported model IR version", "No Op registered",
           "No opset import for domain", "only *guarantees* support", "requires procfs")  # fmt: skip
NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "annot allocate memory")
OBJECTS = "onnx's checker objects"
SEVERITY_FATAL = 4
MAX_SAID = 600


class OnnxRuntime:
    """The engine."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.onnxruntime, self.threads = onnxruntime, threads
        # The checker is imported now: afterwards the sandbox lets nothing but code be read.
        self.checker = _checker()
        versions = [
            f"{name} {importlib.metadata.version(name)}" for name in ("onnx",) if self.checker is not None
        ]
        self.report = EngineReport(
            "onnxruntime",
            "onnxruntime",
            importlib.metadata.version("onnxruntime"),
            library_version=", ".join(["ONNX Runtime " + onnxruntime.__version__, *versions]),
            threads=threads,
        )

    def load(self, path: str) -> "OnnxSession":
        """The network in the ONNX file at `path`. Raises EngineError in the runtime's own words."""
        outside = _weights_outside(Path(path))
        note = self._check(path, outside)
        runtime = self.onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.log_severity_level = SEVERITY_FATAL
        values = [runtime.OrtValue.ortvalue_from_numpy(array) for array in outside.values()]
        options.add_external_initializers(list(outside), values)
        try:
            session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no base but Exception
            raise _refused("load-refused", "ONNX Runtime refused to load it", error) from error
        return OnnxSession(session, note, values)

    def _check(self, path: str, outside: Collection[str]) -> str:
        """What the checker found, in words for the report; OBJECTS begins what it has against the file.

        The runtime decides: it loads what the checker's rules forbid, and the inference of shapes knows less than it.
        """
        if self.checker is None:
            return "not checked by onnx, which is not installed"
        try:
            self.checker.check_model(_graph_alone(path, outside) if outside else path, full_check=True)
        except self.checker.ValidationError as error:
            return f"{OBJECTS}: {str(error)[:200]}"
        except Exception as error:  # InferenceError, and whatever comes of domains that onnx does not know
            return f"onnx's shape inference: {str(error)[:200]}"
        return "valid by onnx's checker"


def _graph_alone(path: str, outside: Collection[str]) -> Any:
    """The model with inputs in place of its weights outside.

    Where those lie our own reader has checked; the checker would refuse hard links, which is how blobs are placed.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    main = model.graph
    named = {one.name for one in main.input}
    for one in main.initializer:
        if one.name in outside and one.name not in named:
            main.input.append(onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims))
    kept = [one for one in main.initializer if one.name not in outside]
    del main.initializer[:]
    main.initializer.extend(kept)
    return model


def _weights_outside(path: Path) -> dict[str, NDArray[Any]]:
    """The weights of the main graph that lie in files beside, mapped by us.

    Asked to open them itself, the runtime looks for their real path in /proc, which the sandbox does not show.
    """
    with FileSource(path) as source:
        tensors = read_model(source).tensors.values()
    return {one.name: _mapped(path.parent, one) for one in tensors if one.location and not one.is_inner}


def _mapped(folder: Path, tensor: OnnxTensor) -> NDArray[Any]:
    if tensor.dtype not in NUMPY_DTYPES:
        what = f"weights of {tensor.dtype} in another file are not given to the engine"
        raise EngineError("unsupported-architecture", what)
    dtype = np.dtype(NUMPY_DTYPES[tensor.dtype])
    if not tensor.n_elements:
        return np.empty(tensor.shape, dtype)
    return np.memmap(folder / tensor.location, dtype, "r", tensor.start, tensor.shape)


def _checker() -> Any:
    if find_spec("onnx") is None:
        return None
    import onnx.checker
    import onnx.helper
    import onnx.shape_inference

    return onnx.checker


def _refused(code: str, what: str, error: Exception) -> EngineError:
    said = str(error)[:MAX_SAID]
    if any(words in said for words in NO_MEMORY):
        return EngineError("engine-out-of-memory", f"{what}: {said}")
    if any(words in said for words in UNKNOWN) or type(error).__name__ == "NotImplemented":
        return EngineError("unsupported-architecture", f"{what}: {said}")
    return EngineError(code, f"{what}: {said}")


class OnnxSession:
    """A loaded network. It has no tokens: what an engine.Model says of those is refused."""

    def __init__(self, session: Any, note: str, values: Sequence[Any] = ()) -> None:
        self._session, self._values = session, values  # the memory of weights from other files
        inputs, outputs = session.get_inputs(), session.get_outputs()
        description = f"{len(inputs)} inputs, {len(outputs)} outputs, {note}"
        self.facts = Facts(0, 0, None, adds_bos=False, description=description)

    def run(self, feeds: Sequence[Feed]) -> list[tuple[str, NDArray[Any]]]:
        """The outputs that hold numbers, by name, in the graph's order. EngineError `decode-failed`."""
        wanted = {one.name for one in self._session.get_inputs()}
        given = {feed.name: values_of(feed) for feed in feeds if feed.name in wanted}
        names = [one.name for one in self._session.get_outputs()]
        try:
            found = self._session.run(names, given)
        except Exception as error:  # as above
            raise _refused("decode-failed", "ONNX Runtime could not run it", error) from error
        pairs = zip(names, found, strict=True)
        return [
            (name, one) for name, one in pairs if isinstance(one, np.ndarray) and one.dtype.kind in "fiub"
        ]

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        raise _no_tokens()

    def detokenize(self, ids: Sequence[int]) -> str:
        raise _no_tokens()

    def is_end(self, token: int) -> bool:
        raise _no_tokens()

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        raise _no_tokens()


def _no_tokens() -> EngineError:
    return EngineError("decode-failed", "this network reads numbers, not tokens")


def start(threads: int) -> OnnxRuntime:
    return OnnxRuntime(threads)
