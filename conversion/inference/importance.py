"""An importance matrix, measured: how strongly a text drives each column of each weight of a model.

`python -m conversion.inference.importance MODEL.gguf TEXT.txt OUT.gguf` runs the model over the text, window by window,
in the sandbox, and writes what llama-imatrix would: a GGUF of type `imatrix` that llama-quantize and we read alike.

| key or tensor | what |
|---|---|
| general.type | "imatrix" |
| imatrix.datasets | names of the texts |
| imatrix.chunk_count, imatrix.chunk_size | windows, and tokens in each |
| NAME.in_sum2 | float32 (n_matrices, n_cols): sums of squared activations |
| NAME.counts | float32 (n_counts, 1): rows that were summed; one count for each expert, or one for all |

(llama.cpp: tools/imatrix/imatrix.cpp, save_imatrix.) Never calibrate with the texts that test inference judges by.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from conversion.formats.gguf import ValueType, array, plan_file, string, uint32
from conversion.formats.layout import stream_file
from conversion.inference.engine import EngineError
from conversion.inference.sandbox import Rows, Sandbox

MAX_TEXT_BYTES = 64 * 2**20
WINDOW_TOKENS = 512
"""llama-imatrix's own default, and the most that our sandbox computes at once."""

OnWindow = Callable[[int, int], None]
"""Called with the windows done and the windows there are."""


@dataclass(frozen=True)
class ImportanceMatrix:
    """Sums and counts by weight name, of `n_windows` windows of `window_tokens` tokens of the text `dataset`."""

    dataset: str
    n_windows: int
    window_tokens: int
    sums: dict[str, Rows]
    counts: dict[str, list[int]]


def measure_importance(
    model: Path, text: str, dataset: str, *, threads: int = 1, max_windows: int | None = None,
    on_window: OnWindow = lambda done, total: None,
) -> ImportanceMatrix:  # fmt: skip
    """What the text does to each weight of the GGUF at `model`.

    Every window begins with the beginning-of-text token where the model expects one; what is left over is dropped.
    Raises EngineError: `text-too-short` for less than one window, and whatever the engine refuses.
    """
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise EngineError("text-too-long", f"{dataset} is longer than {MAX_TEXT_BYTES:,} bytes; cut it")
    with Sandbox("llama.cpp", model, threads=threads, observe=True) as engine:
        size = min(WINDOW_TOKENS, engine.facts.n_context)
        windows = list(_cut(engine, text, size))[:max_windows]
        if not windows:
            raise EngineError(
                "text-too-short", f"{dataset} is less than one window of {size} tokens; add text"
            )
        for done, ids in enumerate(windows, 1):
            for _ in engine.logits(ids):
                pass
            on_window(done, len(windows))
        found = {name: (sums, counts) for name, sums, counts in engine.activation_sums()}
    return ImportanceMatrix(
        dataset,
        len(windows),
        size,
        {name: sums for name, (sums, _) in found.items()},
        {name: counts for name, (_, counts) in found.items()},
    )


def _cut(engine: Sandbox, text: str, size: int) -> Iterator[list[int]]:
    facts = engine.facts
    start = [facts.bos_id] if facts.adds_bos and facts.bos_id is not None else []
    step = size - len(start)
    ids = [token for part in _parts(text) for token in engine.tokenize(part, special=False)]
    for index in range(len(ids) // step):
        yield [*start, *ids[index * step : (index + 1) * step]]


def _parts(text: str) -> Iterator[str]:
    """Some hundred lines at a time: an answer of the sandbox is of bounded size."""
    lines = iter(text.splitlines(keepends=True))
    while joined := "".join(islice(lines, 200)):
        yield from (joined[start : start + 50_000] for start in range(0, len(joined), 50_000))


def write_importance(matrix: ImportanceMatrix, path: Path) -> None:
    """The matrix is at `path`, whole or not at all; equal matrices give equal bytes."""
    metadata = {
        "general.type": string("imatrix"),
        "imatrix.datasets": array(ValueType.STRING, [matrix.dataset]),
        "imatrix.chunk_count": uint32(matrix.n_windows),
        "imatrix.chunk_size": uint32(matrix.window_tokens),
    }
    tensors: dict[str, Rows] = {}
    for name in sorted(matrix.sums):
        tensors[f"{name}.in_sum2"] = matrix.sums[name]
        tensors[f"{name}.counts"] = np.array(matrix.counts[name], np.float32).reshape(-1, 1)
    layout = plan_file(metadata, [(name, rows.shape, "F32") for name, rows in tensors.items()])
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            pieces = ((name, [rows.astype("<f4").tobytes()]) for name, rows in tensors.items())
            file.writelines(stream_file(layout, pieces))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def main() -> int:
    options = _parser().parse_args()
    try:
        text = options.text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{options.text}: {error}\n")
        return 2
    try:
        matrix = measure_importance(
            options.model, text, options.text.name, threads=options.threads, max_windows=options.windows,
            on_window=_show if sys.stderr.isatty() else lambda done, total: None,
        )  # fmt: skip
    except (EngineError, OSError) as error:
        sys.stderr.write(f"{options.model}: {error}\n")
        return 1
    write_importance(matrix, options.out)
    sys.stdout.write(f"{options.out}: {len(matrix.sums)} weights over {matrix.n_windows} windows\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conversion.inference.importance",
        description="Measure an importance matrix: run a GGUF over a text and keep what drives each column.",
        epilog="Exit status: 0 written, 1 the engine refused the model, 2 the text cannot be read.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a GGUF; best F16, BF16 or F32")
    parser.add_argument("text", type=Path, metavar="TEXT", help="calibration text in UTF-8")
    parser.add_argument("out", type=Path, metavar="OUT", help="where to write the matrix (GGUF)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="threads of the engine (all)"
    )
    parser.add_argument("--windows", type=int, help="read at most so many windows of 512 tokens")
    return parser


def _show(done: int, total: int) -> None:
    sys.stderr.write(f"\rwindow {done} of {total}" + ("\n" if done == total else ""))


if __name__ == "__main__":
    sys.exit(main())
