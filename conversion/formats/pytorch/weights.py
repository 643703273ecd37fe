"""PyTorch checkpoints as Weights: `pytorch_model.bin`, its shards, or any one file of torch.save.

A tensor is read where its storage lies in the file. One that is not contiguous (a transpose, a slice) is gathered from
ranges, so that no caller ever sees a stride.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.errors import quoted
from conversion.formats.layout import TensorEntry
from conversion.formats.pytorch import file, state_dict
from conversion.formats.pytorch.views import View, is_contiguous
from conversion.formats.shards import PYTORCH, choose_files, gathered
from conversion.formats.source import ByteSource, read_exactly

NOT_WEIGHTS = ("training_args.", "optimizer.", "scheduler.", "rng_state", "scaler.")
"""What trainers save beside a checkpoint, by the beginning of the name."""

MAX_RANGE_BYTES = 16 * 1024 * 1024
MAX_GAP_BYTES = 64 * 1024
"""While gathering, one range read spans at most this much, and reads through gaps of at most that much."""


@dataclass(frozen=True)
class TorchWeights(Checkpoint):
    """A checkpoint of torch.save. An entry's `start` is the place of its first element; `length` counts it dense.

    `aliases`: tensors that are the very same view as an earlier one, and that one's name.
    """

    SHORT_CODE: ClassVar[str] = "pt-truncated"

    views: Mapping[str, View] = field(default_factory=dict, repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def read_bytes(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes of the tensor, as if it were dense, from its byte `start` on."""
        view = self.views[name]
        if is_contiguous(view):
            return super().read_bytes(name, start, length)
        first, last = start // view.item_bytes, -(-(start + length) // view.item_bytes)
        data = self._gathered(name, view, np.arange(first, last))
        return data[start - first * view.item_bytes :][:length]

    def _gathered(self, name: str, view: View, elements: npt.NDArray[np.int64]) -> bytes:
        """These elements (numbers in row-major order), each from its own place in the storage."""
        source, size = self.sources[self.path_of[name]], view.item_bytes
        places = np.zeros(len(elements), dtype=np.int64)
        for index, step in zip(np.unravel_index(elements, view.shape), view.strides, strict=True):
            places += index * step
        order = np.argsort(places, kind="stable")
        gathered = np.empty((len(elements), size), dtype=np.uint8)
        origin = self.entries[name].start
        for low, high in _runs(places[order], size):
            chosen = order[low:high]
            base = int(places[order[low]])
            n_bytes = (int(places[order[high - 1]]) - base + 1) * size
            data = read_exactly(
                source, origin + base * size, n_bytes, code=self.SHORT_CODE, what=f"tensor {quoted(name)}"
            )
            gathered[chosen] = np.frombuffer(data, np.uint8).reshape(-1, size)[places[chosen] - base]
        return gathered.tobytes()


def open_pytorch(sources: Mapping[str, ByteSource]) -> TorchWeights:
    """The PyTorch checkpoint among these files of one folder; nothing in them is executed.

    `pytorch_model.bin` wins; else the index and its shards; else the one file that is no part of a trainer's state.
    """
    likely = {path: source for path, source in sources.items() if not path.startswith(NOT_WEIGHTS)}
    paths, weight_map = choose_files(likely, PYTORCH)
    views: dict[str, View] = {}
    aliases: dict[str, str] = {}

    def read(path: str) -> Iterable[TensorEntry]:
        found, tensors = _read(sources[path])
        views.update(tensors)
        aliases.update(state_dict.aliases(tensors))
        return found

    entries, path_of = gathered(paths, weight_map, read)
    unlisted = tuple(name for name in entries if weight_map is not None and name not in weight_map)
    chosen = {path: sources[path] for path in paths}
    return TorchWeights(entries, path_of, paths, {"format": "pt"}, unlisted, chosen, views, aliases)


def read_entries(source: ByteSource) -> tuple[TensorEntry, ...]:
    """The tensors of one file, be it a whole checkpoint or a shard; nothing in it is executed."""
    return tuple(_read(source)[0])


def _read(source: ByteSource) -> tuple[list[TensorEntry], dict[str, View]]:
    opened = file.read_file(source)
    tensors = state_dict.flattened(opened.value)
    entries = [_entry(name, view, opened.places[view.storage.key][0]) for name, view in tensors.items()]
    return entries, tensors


def _entry(name: str, view: View, storage_start: int) -> TensorEntry:
    start = storage_start + view.offset * view.item_bytes
    return TensorEntry(name, view.dtype, view.shape, start, view.size_bytes)


def _runs(places: npt.NDArray[np.int64], item_bytes: int) -> Iterable[tuple[int, int]]:
    """Slices of ascending places that one range read covers: short enough, and without a wide gap."""
    gaps = np.flatnonzero(np.diff(places) * item_bytes > MAX_GAP_BYTES) + 1
    for low, high in zip([0, *gaps.tolist()], [*gaps.tolist(), len(places)], strict=True):
        start = low
        while start < high:
            reach = int(places[start]) + MAX_RANGE_BYTES // item_bytes
            stop = start + int(np.searchsorted(places[start:high], reach))
            yield start, stop
            start = stop
