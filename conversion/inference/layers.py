"""The first layers of artifact and parent as files of their own: what runs where neither fits.

The parent is cut from its GGUF, or from the GGUF that its checkpoint would make, of which only those layers are made.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.formats.gguf.cut import layer_bytes, n_blocks, plan_first_layers
from conversion.formats.gguf.splitting import copied
from conversion.formats.gguf.weights import GgufWeights, open_gguf
from conversion.formats.source import RangeSource
from conversion.inference.checks.trial import Trial
from conversion.inference.engine import EngineError
from conversion.inference.parents import ParentTensors
from conversion.naming.slabs import file_pieces

MAX_LAYERS = 4
"""More say little more, and cost as much again."""


@dataclass(frozen=True)
class Files:
    """Both cut to the same layers; `parent` is None where it has none that can be cut."""

    artifact: Path
    parent: Path | None
    level: str


def cut_both(trial: Trial, parent: GgufWeights | None, memory_bytes: int, share_of_time: float) -> Files:
    """As many layers as fit, up to `MAX_LAYERS`. EngineError `engine-out-of-memory` where none does, or none can."""
    artifact = trial.look.weights
    if not isinstance(artifact, GgufWeights):
        raise _too_large("only the first layers of a GGUF can be run")
    reference = trial.reference
    if parent is None and reference is not None and reference.tensors is not None:
        parent = unwritten_gguf(reference.tensors)
    try:
        total = n_blocks(artifact)
        both = [artifact, parent] if parent and n_blocks(parent) == total else [artifact]
        n_layers = _n_layers(both, total, memory_bytes, share_of_time)
        folder = Path(trial.stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-layers-")))
        paths = [_written(weights, n_layers, folder / f"{role}.gguf")
                 for role, weights in zip(("artifact", "parent"), both, strict=False)]  # fmt: skip
    except HeaderError as error:
        raise _too_large(str(error)) from error
    return Files(paths[0], paths[1] if len(paths) > 1 else None, f"first {n_layers} of {total} layers")


def unwritten_gguf(tensors: ParentTensors) -> GgufWeights | None:
    """The F32 GGUF that these would make, read as if it were there; None for tensors that have no GGUF's names."""
    plan = tensors.plan
    if plan is None:
        return None

    def fetch(start: int, length: int) -> bytes:
        pieces = file_pieces(plan, tensors.weights, start, start + length, n_threads=1)
        return b"".join(piece.data for piece in pieces)

    return open_gguf({"parent.gguf": RangeSource(plan.layout.size_bytes, fetch)})


def _n_layers(both: list[GgufWeights], total: int, memory_bytes: int, share_of_time: float) -> int:
    sizes: dict[int, int] = {}
    for weights in both:
        for layer, size in layer_bytes(weights).items():
            sizes[layer] = sizes.get(layer, 0) + size
    most = max(1, min(total, MAX_LAYERS, int(total * share_of_time)))
    needed = sizes.get(-1, 0)
    for n_layers in range(1, most + 1):
        needed += sizes.get(n_layers - 1, 0)
        if needed > memory_bytes:
            if n_layers == 1:
                raise _too_large(f"one layer and what every layer needs take {needed:,} bytes")
            return n_layers - 1
    return most


def _written(weights: GgufWeights, n_layers: int, path: Path) -> Path:
    layout = plan_first_layers(weights, n_layers)
    with path.open("wb") as file:
        file.writelines(copied(weights, layout))
    return path


def _too_large(why: str) -> EngineError:
    return EngineError(
        "engine-out-of-memory", f"it does not fit into this worker's memory, nor does a part: {why}"
    )
