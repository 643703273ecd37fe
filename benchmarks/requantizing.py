"""A whole requantisation, from process start to the last byte, against llama-quantize.

    python -m benchmarks.requantizing [--layers 24] [--rounds 3] [--threads 1,2] [--build-peers] [--smoke]

A bf16 GGUF of half a billion parameters (24 layers) is made on the fly and lies in the page cache. Both sides are whole
processes, alternated, with the same number of threads; ours includes Python, its imports and loading cached kernels
(one run before the first round compiles them), and both end when the file is on the disk. The best round of each
counts. Files must be identical, byte for byte.

The peer is `llama_model_quantize`, the function behind llama-quantize, of llama-cpp-python (see _peers.py). Where that
is not built, it is the same loop over `ggml_quantize_chunk` of the pinned xllamacpp wheel, one thread; the output says
which. `--smoke` runs it tiny, to see that it runs; its ratio means nothing.
"""

import argparse
import filecmp
import os
import sys
import tempfile
from pathlib import Path

from benchmarks._models import write_gguf
from benchmarks._peers import Measured, Peers, find_peers, holdfast, run_process

TYPES = {"Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "Q8_0": 7}
OF_LLAMA_CPP = """
import sys
from pathlib import Path
from tests.fixtures.requantised.llama_quantize import LlamaQuantize
library, source, target, number, n_threads = sys.argv[1:]
LlamaQuantize(Path(library))(Path(source), Path(target), int(number), n_threads=int(n_threads))
"""
OF_GGML = """
import sys
from benchmarks._loop import requantise
requantise(*sys.argv[1:])
"""


def peer_command(library: Path | None, source: Path, target: Path, kind: str, n_threads: int) -> list[str]:
    if library is None:
        return [sys.executable, "-c", OF_GGML, str(source), str(target), kind]
    arguments = [str(library), str(source), str(target), str(TYPES[kind]), str(n_threads)]
    return [sys.executable, "-c", OF_LLAMA_CPP, *arguments]


def compare(source: Path, kind: str, n_threads: int, rounds: int, peers: Peers) -> None:
    """Prints both sides and the ratio of their best rounds."""
    library = peers.library
    peer = f"llama_model_quantize of {peers.version}" if library else "ggml_quantize_chunk of xllamacpp"
    ours, theirs = source.with_name("ours.gguf"), source.with_name("theirs.gguf")
    commands = {
        "holdfast": holdfast(str(source), str(ours), "--to", kind, "--threads", str(n_threads), "--force"),
        peer: peer_command(library, source, theirs, kind, n_threads),
    }
    run_process(commands["holdfast"])  # compiles what is not compiled yet
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run_process(command, ours if name == "holdfast" else theirs))
    if not filecmp.cmp(ours, theirs, shallow=False):
        raise SystemExit(f"{kind}: the files differ")
    print(
        f"\n{kind}, {n_threads} threads, {source.stat().st_size / 1e9:.2f} GB bf16, best of {rounds}; same bytes"
    )
    for name, measured in runs.items():
        wall, cpu = min(one.seconds for one in measured), min(one.cpu_seconds for one in measured)
        peak = max(one.peak_mb for one in measured)
        print(f"  {name:45} {wall:7.2f} s   {cpu:7.2f} s CPU   {peak:5.0f} MB peak")
    wall, cpu = (
        min(getattr(one, what) for one in runs[peer]) / min(getattr(one, what) for one in runs["holdfast"])
        for what in ("seconds", "cpu_seconds")
    )
    print(
        f"ratio: {wall:.2f} ({kind}, {n_threads} threads, wall; {cpu:.2f} by CPU time; against {peer})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--build-peers", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.layers, options.rounds, options.threads, options.types = 1, 1, "1", "Q8_0"
    peers = find_peers(build=options.build_peers)
    with tempfile.TemporaryDirectory(dir=os.environ.get("HOLDFAST_BENCH_DIR")) as folder:
        source = Path(folder) / "model.gguf"
        write_gguf(source, options.layers, 512 if options.smoke else 64_000)
        for n_threads in map(int, options.threads.split(",")):
            for kind in options.types.split(","):
                compare(source, kind, n_threads, options.rounds, peers)


if __name__ == "__main__":
    main()
