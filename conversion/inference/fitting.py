"""How artifact and parent are run with the memory there is: whole, streamed, or their first layers only.

| way | when | what it is worth |
|---|---|---|
| whole | both fit, or one fits its half of the memory | everything |
| streamed | a layer, the largest tensor and a window fit its half | the same logits, to the bit; no greedy text |
| first layers | neither (`layers`), or no time for more | a verdict of `partial`, which says how many layers |

Weights are mapped, so that a whole model that just fits costs its file's size; what a window costs beside them is
estimated from the header, on the safe side.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.formats.gguf.cut import layer_bytes
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.weights import Weights
from conversion.inference.checks.trial import Reference, Trial
from conversion.inference.confine import GIB, Limits
from conversion.inference.engine import EngineError
from conversion.inference.layers import cut_both
from conversion.inference.memory import available_memory
from conversion.inference.passes import Streaming
from conversion.inference.sandbox import Sandbox
from conversion.inference.subjects import Look, look_at
from conversion.inference.windows import WINDOW_TOKENS
from conversion.naming import NamingError

SPARE_BYTES = 2 * GIB
"""Of address space, beyond weights and activations: Python, the engine's library, threads' stacks."""

N_TOKENS = 4096
"""About as many tokens as all windows have together."""

FLOPS_PER_SECOND = 25e9
"""Of one thread; 36e9 was measured in F32 on an EPYC of 2024. A slow machine takes longer, and is not cut short."""

MAX_EXPERTS_USED = 64


@dataclass(frozen=True)
class Way:
    """What an engine is given. `streaming` and `limits` are None where it runs as always."""

    path: Path
    streaming: Streaming | None = None
    limits: Limits | None = None

    def open(self, trial: Trial, engine: str) -> Sandbox:
        return trial.open(engine, self.path, streaming=self.streaming, limits=self.limits)


@dataclass(frozen=True)
class Ways:
    """`level`, where only a part of both runs, says which: `first 4 of 80 layers`; then `parent` may be missing."""

    artifact: Way
    parent: Way | None = None
    level: str = ""

    @property
    def manner(self) -> str:
        """After "loads", where the artifact does not run whole from memory."""
        if self.level:
            return f", its {self.level}"
        return ", streamed layer by layer" if self.artifact.streaming else ""


@dataclass(frozen=True)
class Model:
    """One of the two, before it is known how it will run. `weights` are those of a GGUF, else None."""

    path: Path
    needs_bytes: int
    weights: GgufWeights | None

    @property
    def size_bytes(self) -> int:
        return sum(entry.length for entry in self.weights.entries.values()) if self.weights else 0


def ways_of(trial: Trial) -> Ways:
    """How both run here. EngineError `engine-out-of-memory` where not even one layer fits."""
    memory = trial.memory_bytes or available_memory()
    with ExitStack() as stack:
        artifact, parent = _model(trial.look), _parent(trial.reference, stack)
        both = [model for model in (artifact, parent) if model is not None]
        needed = sum(seconds_to_run(model.weights, trial.threads) for model in both)
        is_short_of_time = needed > trial.max_seconds
        if sum(model.needs_bytes for model in both) <= memory and not is_short_of_time:
            return Ways(Way(artifact.path), Way(parent.path) if parent else None)
        ways = [_way(model, memory // len(both)) for model in both]
        if any(way is None for way in ways) or is_short_of_time:
            seconds = min(1.0, trial.max_seconds / max(1e-9, needed))
            files = cut_both(trial, parent.weights if parent else None, memory, seconds)
            return Ways(Way(files.artifact), Way(files.parent) if files.parent else None, files.level)
        mine, theirs = ways[0], ways[1] if parent else None
        return Ways(mine or Way(artifact.path), theirs)


def way_of(path: Path, memory_bytes: int = 0) -> Way:
    """How one model alone runs here. EngineError `engine-out-of-memory` where it does not."""
    with ExitStack() as stack:
        model = _opened(path, stack)
        way = _way(model, memory_bytes or available_memory())
    if way is None:
        raise EngineError("engine-out-of-memory", f"{path.name} does not fit into this worker's memory")
    return way


@contextmanager
def blaming_the_cut(level: str) -> Iterator[None]:
    """What goes wrong with a part of a model is not the model's fault: some architectures need all their layers.

    Then it is an EngineError `engine-out-of-memory`; with no `level` errors stay as they are.
    """
    try:
        yield
    except EngineError as error:
        if not level or error.says_nothing_of_the_file:
            raise
        raise EngineError(
            "engine-out-of-memory",
            f"it does not fit into this worker's memory, and its {level} do not run alone: {error}",
        ) from error


def _model(look: Look) -> Model:
    weights = look.weights
    if isinstance(weights, GgufWeights):
        size = sum(entry.length for entry in weights.entries.values())
        return Model(look.path, size + WINDOW_TOKENS * bytes_of_token(weights), weights)
    # transformers computes in float32, whatever is stored.
    return Model(look.path, 4 * sum(entry.n_elements for entry in weights.entries.values()), None)


def _parent(reference: Reference | None, stack: ExitStack) -> Model | None:
    """None where no parent has to run."""
    if reference is None or reference.reading is not None:
        return None
    return _opened(reference.path, stack)


def _opened(path: Path, stack: ExitStack) -> Model:
    try:
        return _model(look_at(path, stack))
    except (HeaderError, NamingError, OSError):  # the engine will say what is wrong with it
        return Model(path, 0, None)


def _way(model: Model, memory_bytes: int) -> Way | None:
    """None where it does not fit in any way."""
    if model.needs_bytes <= memory_bytes:
        return Way(model.path)
    streaming = streaming_of(model.weights, memory_bytes) if model.weights else None
    if streaming is None:
        return None
    seconds = 4 * (600 + model.size_bytes // (2 * 2**20))
    limits = Limits(SPARE_BYTES + memory_bytes + model.size_bytes, seconds, float(seconds))
    return Way(model.path, streaming, limits)


def streaming_of(weights: GgufWeights, memory_bytes: int) -> Streaming | None:
    """A layer at a time, and as many windows as fit beside it and the largest tensor; None if none does."""
    resident = max((size for layer, size in layer_bytes(weights).items() if layer >= 0), default=0)
    largest = max((entry.length for entry in weights.entries.values()), default=0)
    n_tokens = (memory_bytes - resident - largest) // bytes_of_token(weights)
    return Streaming(max(1, resident), n_tokens) if n_tokens >= WINDOW_TOKENS else None


def bytes_of_token(weights: GgufWeights) -> int:
    """What a token costs while a window is computed: its logits twice, its state, its share of attention and cache.

    A header may claim anything: no number counts for more than the largest dimension of a tensor in the file.
    """
    widest = max((max(entry.shape) for entry in weights.entries.values()), default=0)

    def number(key: str) -> int:
        return min(widest, _number(weights, key))

    experts = min(max(1, number("expert_used_count")), MAX_EXPERTS_USED)
    inner = max(number("feed_forward_length"), number("expert_feed_forward_length") * experts)
    width, heads = number("embedding_length"), number("attention.head_count")
    layers = min(len(weights.entries), _number(weights, "block_count"))
    values = 2 * _n_vocab(weights) + 16 * width + 4 * inner + 2 * WINDOW_TOKENS * heads
    return 4 * values + 2 * 2 * layers * width


def _n_vocab(weights: GgufWeights) -> int:
    shapes = [
        weights.entries[name].shape
        for name in ("output.weight", "token_embd.weight")
        if name in weights.entries
    ]
    return max((shape[0] for shape in shapes if len(shape) > 1), default=0)


def _number(weights: GgufWeights, key: str) -> int:
    """The largest where there is one a layer; 0 where there is none, or nothing that can be meant."""
    value: Any = weights.header.get(f"{weights.header.get('general.architecture', '')}.{key}", 0)
    return max([0, *(one for one in (value if isinstance(value, list) else [value]) if type(one) is int)])


def seconds_to_run(weights: Weights | None, threads: int) -> float:
    """About, to read all windows: two operations for each weight and token. 0 without weights."""
    entries = weights.entries.values() if weights is not None else ()
    return 2.0 * N_TOKENS * sum(entry.n_elements for entry in entries) / (FLOPS_PER_SECOND * threads)
