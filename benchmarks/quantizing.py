"""Every quantization type against ggml's own C code and the numpy code of the gguf package, core for core.

    python -m benchmarks.quantizing [--types Q4_K,Q8_0] [--peers ggml,gguf] [--ggml LIBRARY] [--rounds 5] [--smoke]

For each type: quantising, the same with an importance matrix, and decoding, in millions of values per CPU-second of one
thread. Rounds alternate and the best of each counts, because other work on the machine only ever slows down. Ours
writes into an array that is there, as ggml does; against the gguf package both make their result. Ours looks for NaN
and infinity and checks every scale, which neither peer's kernel does. All must give the same bytes, or there is no
figure. `--smoke` runs it tiny, to see that it runs; its ratios mean nothing.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator

import gguf
import numpy as np

from benchmarks._ggml import NUMBERS, Ggml
from conversion.quants import TYPES, QuantType, dequantize, dequantize_into, quantize, quantize_into

N_COLS = 4096
SECONDS_A_RUN = 0.25
CHANGED_SINCE = ("IQ1_M",)
"""Types that newer llama.cpp computes otherwise than the release whose bytes are ours (82bb48500, golden vectors)."""
Run = Callable[[], np.ndarray]
Pair = tuple[str, Run, Run]


def best_seconds(ours: Run, theirs: Run, rounds: int) -> tuple[float, float]:
    """CPU seconds of the quickest of some alternated rounds, for both."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for i, run in enumerate((ours, theirs)):
            started = time.thread_time()
            run()
            best[i] = min(best[i], time.thread_time() - started)
    return best[0], best[1]


def against_ggml(ggml: Ggml, kind: QuantType, rows: np.ndarray, imatrix: np.ndarray) -> Iterator[Pair]:
    """What is done -> ours, and theirs, for one type."""
    out = np.empty((len(rows), kind.row_bytes(N_COLS)), dtype=np.uint8)

    def quantizer(weights: np.ndarray | None) -> Run:
        def run() -> np.ndarray:
            quantize_into(kind, rows, out, weights)
            return out

        return run

    if kind.quantize_blocks is not None:
        for what, weights in (("quantise", None), ("quantise with imatrix", imatrix)):
            if kind.uses_imatrix if weights is not None else not kind.needs_imatrix:
                yield what, quantizer(weights), ggml.quantizer(kind.name, rows, weights)
        data = quantize(rows, kind.name, imatrix)
    else:
        data = _random_blocks(kind, len(rows))
    values = np.empty_like(rows)

    def decode() -> np.ndarray:
        dequantize_into(kind, data, values)
        return values

    theirs = ggml.dequantizer(kind.name, data, N_COLS)
    if theirs is not None:
        yield "dequantise", decode, theirs


def against_gguf(kind: QuantType, rows: np.ndarray, imatrix: np.ndarray) -> Iterator[Pair]:
    peer = getattr(gguf.GGMLQuantizationType, kind.name, None)
    if peer is None:
        return
    data = quantize(rows, kind.name, imatrix) if kind.quantize_blocks else _random_blocks(kind, len(rows))
    pairs = (
        ("quantise", lambda: quantize(rows, kind.name), lambda: gguf.quants.quantize(rows, peer).view(np.uint8)),
        ("dequantise", lambda: dequantize(data, kind.name, N_COLS), lambda: gguf.quants.dequantize(data, peer)),
    )  # fmt: skip
    for what, ours, theirs in pairs:
        try:
            theirs()
        except NotImplementedError:
            continue
        yield what, ours, theirs


def compare(pair: Pair, kind: QuantType, peer: str, n_values: int, rounds: int) -> None:
    """One line of figures and one ratio; the process ends if the two differ."""
    what, ours, theirs = pair
    if not np.array_equal(ours(), theirs(), equal_nan=what == "dequantise"):
        if kind.name not in CHANGED_SINCE:
            raise SystemExit(f"{kind.name}: {peer} gives other values to {what}")
        peer += ", newer: it adds these sums in another order and gives some other bytes"
    own, other = (n_values / 1e6 / seconds for seconds in best_seconds(ours, theirs, rounds))
    print(
        f"ratio: {own / other:.2f} ({kind.name} {what}: {own:.1f} against {other:.1f} M values/s, {peer})",
        flush=True,
    )


def rows_for(kind: QuantType, ggml: Ggml, rounds: int) -> np.ndarray:
    """Weights as models have them, as many as ggml needs a fixed time for; with some outliers."""
    chance = np.random.default_rng(1)
    n_rows = 4 if rounds == 1 else 16
    while True:
        rows = chance.normal(0, 0.02, (n_rows, N_COLS)).astype(np.float32)
        rows.flat[:: 257 * 5] *= 32
        if rounds == 1 or n_rows >= 1024 or kind.quantize_blocks is None:
            return rows
        started = time.thread_time()
        ggml.quantizer(kind.name, rows, np.ones(N_COLS, dtype=np.float32))()
        seconds = time.thread_time() - started
        if seconds > SECONDS_A_RUN / 2:
            return rows
        n_rows *= 2


def chosen_types(names: str | None, *, smoke: bool) -> list[QuantType]:
    """Those that were named; else all that ggml has, but one of each family for a try."""
    if names or smoke:
        return [TYPES[name] for name in (names or "BF16,Q8_0,Q4_1,Q4_K,IQ4_NL").split(",")]
    return [kind for kind in TYPES.values() if kind.name in NUMBERS and kind.name != "F32"]


def _random_blocks(kind: QuantType, n_rows: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (n_rows, kind.row_bytes(N_COLS)), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--types", help="names with commas; all if left out")
    parser.add_argument("--peers", default="ggml,gguf")
    parser.add_argument("--ggml", help="a shared library that exports ggml_quantize_chunk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if not options.smoke:
        os.environ.setdefault("HOLDFAST_KERNELS", "compiled")
    rounds = 1 if options.smoke else options.rounds
    ggml = Ggml(options.ggml)
    print(
        f"rows of {N_COLS} float32, best of {rounds}; peers: {ggml.name}, gguf {gguf_version()}", flush=True
    )
    for kind in chosen_types(options.types, smoke=options.smoke):
        rows = rows_for(kind, ggml, rounds)
        imatrix = np.random.default_rng(3).random(N_COLS, dtype=np.float32) + np.float32(0.01)
        if "ggml" in options.peers:
            for pair in against_ggml(ggml, kind, rows, imatrix):
                compare(pair, kind, ggml.name, rows.size, rounds)
        if "gguf" in options.peers:
            for pair in against_gguf(kind, rows, imatrix):
                compare(pair, kind, "the gguf package", rows.size, rounds)


def gguf_version() -> str:
    from importlib.metadata import version

    return version("gguf")


if __name__ == "__main__":
    sys.exit(main())
