"""What a family does to tensors, undone: each tensor of the checkpoint as a Target that reads a GGUF.

| what was done | what undoes it |
|---|---|
| a new name | the old one |
| rows put in another order (Llama's q and k) | the order turned round |
| runs of rows (heads sorted by part), tensors stacked (experts) | the same runs, each put back where it came from |
| a block of rows transposed (GPT-2's Conv1D) | transposed again |
| 1 added (Gemma's norms) | 1 subtracted: exact wherever the addition was |

Whatever is none of these, or does not give back every row once, is refused: `tensor-not-restored`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from conversion.naming.base import NamingError, Rows, Shapes, Target
from conversion.naming.reading import Run, Runs, Shifted, Transposed, of_runs, rows_at_once, transposed


@dataclass(frozen=True)
class _Piece:
    """Rows `[first, first + count)` of a checkpoint's tensor are those of `run`."""

    first: int
    run: Run


def inverted(targets: Iterable[Target], shapes: Shapes) -> list[Target]:
    """A target for each tensor of the checkpoint in `shapes`, in their order, filled from the GGUF's tensors.

    `targets` are what the family makes of `shapes`; their names are the GGUF's. NamingError `tensor-not-restored`.
    """
    whole: dict[str, Target] = {}
    pieces: dict[str, list[_Piece]] = {name: [] for name in shapes}
    for target in targets:
        if target.values is not None:
            continue
        found = _as_pieces(target)
        if found is None:
            whole[target.source] = _whole(target, shapes)
        else:
            for source, piece in found:
                pieces[source].append(piece)
    return [whole[name] if name in whole else _joined(name, shapes[name], pieces[name]) for name in shapes]


def _as_pieces(target: Target) -> list[tuple[str, _Piece]] | None:
    """What of which tensor the target's rows are, where they are rows of tensors as they were; else None."""
    if target.arrange is not None or target.packed is not None:
        return None
    if isinstance(target.read, Runs):
        return _of_runs(target, target.read)
    if target.read is not None:
        return None
    sources = target.sources or (target.source,)
    height = target.n_rows // len(sources)
    return [
        (source, _Piece(0, Run(target.name, number * height, height)))
        for number, source in enumerate(sources)
    ]


def _of_runs(target: Target, read: Runs) -> list[tuple[str, _Piece]]:
    found, at = [], 0
    for run in read.runs:
        if run.step != 1:
            raise _refused(target.name)
        found.append((run.source, _Piece(run.first, Run(target.name, at, run.count))))
        at += run.count
    return found


def _joined(name: str, shape: tuple[int, ...], pieces: Sequence[_Piece]) -> Target:
    """The tensor from its pieces, which must be all of its rows, each once."""
    in_order = sorted(pieces, key=lambda piece: piece.first)
    row = 0
    for piece in in_order:
        if piece.first != row:
            raise _refused(name)
        row += piece.run.count
    restored = Target(name, shape, in_order[0].run.source if in_order else "")
    if row != restored.n_rows:
        raise _refused(name)
    runs = [piece.run for piece in in_order]
    is_one = len(runs) == 1 and runs[0].first == 0
    return restored if is_one else Target(name, shape, restored.source, read=of_runs(runs))


def _whole(target: Target, shapes: Shapes) -> Target:
    """The tensor that all of the target was made of, by what undoes it."""
    name, shape = target.source, shapes[target.source]
    if target.arrange is not None:
        undo = _arranged_back(target, target.arrange)
        return Target(name, shape, target.name, target.rows_together, undo)
    if isinstance(target.read, Shifted):
        return Target(name, shape, target.name, read=Shifted(target.name, -target.read.by))
    if isinstance(target.read, Transposed) and _is_all(target.read, shape):
        height, n_cols = target.read.blocks[0].count, target.read.n_cols
        blocks = [Run(target.name, number * n_cols, n_cols) for number in range(len(target.read.blocks))]
        together = rows_at_once(height, n_cols)
        return Target(name, shape, target.name, together, read=transposed(blocks, height))
    raise _refused(target.name)


def _is_all(read: Transposed, shape: tuple[int, ...]) -> bool:
    """Whether the blocks are all of the tensor's rows in their order, all of one height, and all columns are taken."""
    height = read.blocks[0].count
    in_order = all(run.first == number * height for number, run in enumerate(read.blocks))
    same = all(run.count == height and run.source == read.blocks[0].source for run in read.blocks)
    n_rows = len(read.blocks) * height
    is_whole = read.step == 1 and read.offset == 0 and read.n_cols == shape[-1]
    return in_order and same and is_whole and n_rows * shape[-1] == int(np.prod(shape))


def _arranged_back(target: Target, arrange: Callable[[Rows], Rows]) -> Callable[[Rows], Rows]:
    """The order of rows, or in a vector of values, turned round; found by sending numbers through it."""
    is_vector = len(target.shape) == 1
    size = target.n_cols if is_vector else target.rows_together
    numbers = np.arange(size, dtype=np.float32)
    moved = arrange(numbers.reshape((1, size) if is_vector else (size, 1))).reshape(-1)
    if size >= 1 << 24 or not np.array_equal(np.sort(moved), numbers):
        raise _refused(target.name)
    return partial(_reordered, order=np.argsort(moved), is_vector=is_vector)


def _reordered(rows: Rows, order: npt.NDArray[np.intp], *, is_vector: bool) -> Rows:
    if is_vector:
        return np.ascontiguousarray(rows[:, order])
    groups = rows.reshape(-1, len(order), rows.shape[1])
    return np.ascontiguousarray(groups[:, order]).reshape(rows.shape)


def _refused(name: str) -> NamingError:
    return NamingError(
        "tensor-not-restored",
        f"what was done to tensor {name[:200]!r} cannot be undone; GGUF's names are kept.",
    )
