"""Several files of one source in one pass: every row is read and dequantised once for all that need it.

Files whose tensors come in the same order are made together; those of another order (what the converter lays out,
beside what llama-quantize does) in a pass of their own. Each file's bytes are those of `file_pieces`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from conversion.formats.weights import Weights
from conversion.naming.base import NamingError
from conversion.naming.slabs import (
    N_THREADS,
    SLAB_ELEMENTS,
    FilePlan,
    Piece,
    Scratch,
    Slab,
    ahead,
    make_slab,
    read_target,
    target_slabs,
)


@dataclass(frozen=True)
class Part:
    """Some bytes of one of the files: `file` is its place in the list of plans."""

    file: int
    piece: Piece


def one_reading(readings: Sequence[Weights]) -> Weights:
    """The weights that all files of a job are filled from. NamingError `other-reading` where they are not the same."""
    if any(weights.entries.keys() != readings[0].entries.keys() for weights in readings):
        raise NamingError(
            "other-reading",
            "one of the types is made of packed weights, another of unpacked ones: make them apart.",
        )
    return readings[-1]


def joint_pieces(
    plans: Sequence[FilePlan],
    weights: Weights,
    starts: Sequence[int],
    *,
    slab_elements: int = SLAB_ELEMENTS,
    n_threads: int = N_THREADS,
) -> Iterator[Part]:
    """Each file from its own start to its end; the parts of one file come in order, those of several interleaved.

    Raises QuantError, naming the tensor, for weights that ggml refuses; HeaderError if the source is cut.
    """
    for group in _groups(plans):
        one_pass = _Pass(plans, weights, starts, group, slab_elements)
        for parts in ahead(one_pass.tasks(), n_threads):
            yield from (part for part in parts if part.piece.data)


def _groups(plans: Sequence[FilePlan]) -> list[list[int]]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, plan in enumerate(plans):
        groups.setdefault(tuple(target.name for target in plan.targets), []).append(number)
    return list(groups.values())


Task = Callable[[], list[Part]]


@dataclass
class _Pass:
    """The files of `group`, target by target."""

    plans: Sequence[FilePlan]
    weights: Weights
    starts: Sequence[int]
    group: list[int]
    slab_elements: int

    def tasks(self) -> Iterator[Task]:
        yield self._headers
        scratch = Scratch()
        for number in range(len(self.plans[self.group[0]].targets)):
            slabs = [self._slabs(file, number) for file in self.group]
            for row_of_slabs in zip(*slabs, strict=True):
                wanted = [
                    (file, slab)
                    for file, slab in zip(self.group, row_of_slabs, strict=True)
                    if slab.end > self.starts[file]
                ]
                if wanted:
                    yield partial(self._make, wanted, scratch)
            yield partial(self._padding, number)

    def _slabs(self, file: int, number: int) -> list[Slab]:
        plan = self.plans[file]
        return list(target_slabs(plan.targets[number], plan.layout.entries[number], self.slab_elements))

    def _headers(self) -> list[Part]:
        return [
            Part(file, Piece("", self.plans[file].layout.header_bytes[self.starts[file] :]))
            for file in self.group
        ]

    def _make(self, wanted: list[tuple[int, Slab]], scratch: Scratch) -> list[Part]:
        """The same rows as bytes of each file that wants them."""
        rows, parts = None, []
        for file, slab in wanted:
            if rows is None and slab.target.packed is None:
                buffer = scratch.rows(slab.last - slab.first, slab.target.n_cols)
                rows = read_target(slab.target, self.weights, slab.first, slab.last, buffer)
            made = make_slab(self.plans[file], self.weights, slab, scratch, rows)
            data = bytes(made[max(0, self.starts[file] - slab.start) :])
            parts.append(Part(file, Piece(slab.target.name, data)))
        return parts

    def _padding(self, number: int) -> list[Part]:
        parts = []
        for file in self.group:
            layout = self.plans[file].layout
            places = [*layout.entries[number + 1 : number + 2]]
            until = places[0].start if places else layout.size_bytes
            missing = until - max(layout.entries[number].end, self.starts[file])
            parts.append(Part(file, Piece("", bytes(max(0, missing)))))
        return parts
