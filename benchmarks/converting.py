"""Whole conversions: safetensors to GGUF, safetensors to another dtype, and the memory a large source takes.

    python -m benchmarks.converting [--layers 24] [--rounds 3] [--threads 1,2] [--gigabytes 4] [--build-peers] [--smoke]

- safetensors to GGUF (BF16, F16, Q8_0): whole processes, against llama.cpp's reference converter, which needs torch;
- dtype conversion (BF16 to F16, F32 to BF16, BF16 to F32): the planned file written, against what memcpy allows from
  the page cache (below);
- peak memory of one process over the gigabytes asked for, against 512 MB.

What memcpy allows from the page cache: a file is read out of it whole, by pread, and as many bytes as the conversion
makes are written into fresh pages of it, by pwrite, both by way of one buffer of a megabyte that never leaves the
CPU's cache, and flushed. Nothing looks at the bytes; hashing is no part of it on either side, checking for NaN and
infinity is of ours. It is counted in CPU seconds of the whole process, the kernel's share included: by wall clock both
sides would wait for the same disk most of the time.

A side runs four times before the other has its turn, and the best run counts. A virtual machine may have given free
memory back to its host, so that pages cost ten times as much, until they have been used; the first run after the other
side, which left pages of other sizes, pays for that, whichever side it is.

Sources are made on the fly and lie in the page cache; rounds alternate, the best of each counts. The converter comes
with the source distribution of llama-cpp-python (see _peers.py); where it is not there its row is left out, and the
output says so.
`--smoke` runs it tiny, to see that it runs; its ratios mean nothing.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._models import write_checkpoint
from benchmarks._peers import Measured, Peers, find_peers, holdfast, run_process
from conversion.command.writing import Output, write_files
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.source import FileSource
from conversion.naming.to_safetensors import plan_safetensors
from conversion.quants.kernels import load
from conversion.quants.kernels.warming import warm

COPY_BYTES = 1 << 20
RUNS_IN_A_ROW = 4
LIMIT_MB = 512
DTYPES = (("BF16", "F16"), ("F32", "BF16"), ("BF16", "F32"))


def compare_converters(folder: Path, rounds: int, n_threads: int, peers: Peers) -> None:
    if peers.converter is None:
        print("the reference converter is not here (--build-peers gets it): no row for it")
        return
    for kind in ("BF16", "F16", "Q8_0"):
        ours, theirs = folder.parent / "ours.gguf", folder.parent / "theirs.gguf"
        commands = {
            "holdfast": holdfast(str(folder), str(ours), "--to", kind, "--threads", str(n_threads), "--force"),
            "reference": [
                str(peers.python), str(peers.converter), str(folder), "--outfile", str(theirs),
                "--outtype", kind.lower(),
            ],
        }  # fmt: skip
        run_process(commands["holdfast"])
        runs: dict[str, list[Measured]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                runs[name].append(run_process(command, ours if name == "holdfast" else theirs))
        best = {name: min(one.seconds for one in measured) for name, measured in runs.items()}
        cpu = {name: min(one.cpu_seconds for one in measured) for name, measured in runs.items()}
        for name in commands:
            peak = max(one.peak_mb for one in runs[name])
            print(f"  {name:10} {best[name]:7.2f} s   {cpu[name]:7.2f} s CPU   {peak:5.0f} MB peak")
        print(
            f"ratio: {best['reference'] / best['holdfast']:.2f} (safetensors to GGUF {kind}, {n_threads} threads, wall;"
            f" {cpu['reference'] / cpu['holdfast']:.2f} by CPU time; against convert_hf_to_gguf.py of {peers.version})",
            flush=True,
        )


def compare_dtypes(parent: Path, n_layers: int, rounds: int, vocabulary: int) -> None:
    """CPU seconds, against the least that has to be done: read every byte of the source, write every byte made."""
    warm(after for _, after in DTYPES)
    load("finite", "find_not_finite")
    for before, after in DTYPES:
        folder = parent / f"{before}-{after}"
        write_checkpoint(folder, n_layers, before, vocabulary)
        source, made = folder / "model.safetensors", folder / "made.safetensors"
        ours = copied = float("inf")
        for _ in range(rounds):
            ours = min(ours, *(_seconds(_convert, source, made, after) for _ in range(RUNS_IN_A_ROW)))
            size = made.stat().st_size
            made.unlink()
            copied = min(copied, *(_seconds(_copy, source, made, size) for _ in range(RUNS_IN_A_ROW)))
            made.unlink()
        read = source.stat().st_size / 1e9
        print(
            f"{before} to {after}: {read:.2f} GB in {ours:.3f} s CPU; moving the bytes takes {copied:.3f} s"
        )
        print(
            f"ratio: {copied / ours:.2f} ({before} to {after}, CPU time; against memcpy through the page cache)"
        )
        for path in folder.iterdir():
            path.unlink()


def _convert(source: Path, target: Path, dtype: str) -> None:
    target.unlink(missing_ok=True)
    with FileSource(source) as opened:
        weights = open_checkpoint({"model.safetensors": opened})
        plan = plan_safetensors(weights.entries, dtype).files["model.safetensors"]
        write_files([Output(target, plan)], weights, n_threads=1)


def show_memory(parent: Path, gigabytes: float) -> None:
    """One process over a source of this size, the largest tensor of which is half of it."""
    folder = parent / "large"
    n_rows = max(1, int(gigabytes * 1e9 / 2 / 2048))
    write_checkpoint(folder, 1, "BF16", n_rows)
    measured = run_process(
        holdfast(str(folder), str(parent / "large.gguf"), "--to", "Q8_0", "--threads", "2", "--force")
    )
    size = (folder / "model.safetensors").stat().st_size
    print(
        f"{size / 1e9:.2f} GB of BF16 to Q8_0, largest tensor {n_rows * 2048 / 1e9:.2f} GB: {measured.seconds:.1f} s"
    )
    print(
        f"ratio: {LIMIT_MB / measured.peak_mb:.2f} (peak memory {measured.peak_mb:.0f} MB, against {LIMIT_MB} MB)"
    )


def _seconds(run: Callable[..., None], *arguments: object) -> float:
    """CPU seconds of all threads."""
    started = time.process_time()
    run(*arguments)
    return time.process_time() - started


def _copy(source: Path, target: Path, size: int) -> None:
    """Every byte of the source is read, and `size` bytes are written and on the disk."""
    target.unlink(missing_ok=True)
    reading, writing = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT)
    try:
        buffer = bytearray(COPY_BYTES)
        left, position = size, 0
        while (n_read := os.preadv(reading, [buffer], position)) > 0:
            position += n_read
        for start in range(0, left, COPY_BYTES):
            os.pwrite(writing, memoryview(buffer)[: min(COPY_BYTES, left - start)], start)
        os.fsync(writing)
    finally:
        os.close(reading)
        os.close(writing)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--build-peers", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    vocabulary = 64_000
    if options.smoke:
        options.layers, options.rounds, options.gigabytes, vocabulary = 1, 1, 0.02, 1024
    peers = find_peers(build=options.build_peers) if not options.smoke else Peers(None, None, Path())
    with tempfile.TemporaryDirectory(dir=os.environ.get("HOLDFAST_BENCH_DIR")) as folder:
        source = Path(folder) / "model"
        write_checkpoint(source, options.layers, "BF16", vocabulary)
        for n_threads in map(int, options.threads.split(",")):
            compare_converters(source, options.rounds, n_threads, peers)
        compare_dtypes(Path(folder), options.layers, options.rounds, vocabulary)
        show_memory(Path(folder), options.gigabytes)


if __name__ == "__main__":
    main()
