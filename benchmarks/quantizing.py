"""Every quantization kernel, against the numpy quantisers of the gguf package.

    python -m benchmarks.quantizing [--size-mb 64] [--rounds 5] [--smoke]

Prints, for each type, GB of float32 per CPU-second of one thread for both, and their ratio; then the lowest ratio of
all kernels that have a peer. Rounds alternate and the best of each counts, because other work on the machine only ever
slows down. Both must give the same bytes, or there is no figure. That package checks nothing for NaN, we do; and it has
no quantiser for Q6_K.
`--smoke` runs it tiny, to see that it runs; its ratio means nothing.
"""

import argparse
import time
from collections.abc import Callable

import gguf
import numpy as np

from conversion.quants import TYPES, dequantize, quantize

N_COLS = 4096
Run = Callable[[], np.ndarray]


def best_seconds(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """CPU seconds of the quickest of some alternated rounds, by name."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.thread_time()
            run()
            best[name] = min(best[name], time.thread_time() - started)
    return best


def contenders(type_name: str, values: np.ndarray) -> dict[str, dict[str, Run]]:
    """What is measured for one type: action -> who -> run. A peer that has no such kernel is left out."""
    kind = gguf.GGMLQuantizationType[type_name]
    data = quantize(values, type_name)
    actions: dict[str, dict[str, Run]] = {
        "quantize": {
            "holdfast": lambda: quantize(values, type_name),
            "gguf": lambda: gguf.quants.quantize(values, kind).view(np.uint8),
        },
        "dequantize": {
            "holdfast": lambda: dequantize(data, type_name, N_COLS),
            "gguf": lambda: gguf.quants.dequantize(
                data.view(np.float32) if type_name == "F32" else data, kind
            ),
        },
    }
    for runs in actions.values():
        try:
            same = np.array_equal(runs["gguf"](), runs["holdfast"]())
        except NotImplementedError:
            del runs["gguf"]
        else:
            if not same:
                raise SystemExit(f"{type_name}: the gguf package gives other values")
    return actions


def measure(size_mb: int, rounds: int) -> float:
    n_rows = max(1, size_mb * 2**20 // 4 // N_COLS)
    values = np.random.default_rng(1).normal(0, 0.02, (n_rows, N_COLS)).astype(np.float32)
    lowest = float("inf")
    print(f"{n_rows} rows of {N_COLS} float32, best of {rounds}; GB of float32 per CPU-second")
    for type_name in TYPES:
        if type_name == "F32":
            continue  # a copy on both sides
        for action, runs in contenders(type_name, values).items():
            rate = {name: values.nbytes / 1e9 / s for name, s in best_seconds(runs, rounds).items()}
            line = f"{type_name:5} {action:10} holdfast {rate['holdfast']:6.2f} GB/s"
            if "gguf" in rate:
                ratio = rate["holdfast"] / rate["gguf"]
                lowest = min(lowest, ratio)
                line += f"   gguf {rate['gguf']:6.2f} GB/s   {ratio:.2f} times"
            print(line, flush=True)
    return lowest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mb", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    size_mb, rounds = (1, 1) if options.smoke else (options.size_mb, options.rounds)
    lowest = measure(size_mb, rounds)
    print(f"ratio: {lowest:.2f} (the slowest kernel against numpy quantisers of gguf {gguf_version()})")


def gguf_version() -> str:
    from importlib.metadata import version

    return version("gguf")


if __name__ == "__main__":
    main()
