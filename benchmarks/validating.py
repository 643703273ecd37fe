"""A whole judgement from process start to the report: with a kept reading of the parent, and without.

    python -m benchmarks.validating [--rounds 3] [--parent FILE --artifacts FILE FILE] [--smoke]

The sample family's base (2.3 million parameters) is converted to F32, Q8_0 and Q4_0, unless files are named. Every side
is a process of its own, alternated; the best round of each counts. CPU seconds include the sandboxed children; memory
is that of the controller alone, which is what a worker holds. What starting engines took, self-tests included, is told
as a share of the judgement by the clock; beside busy neighbours it says more of them.

| side | what it does |
|---|---|
| parent run | all checks on the second quant, its parent run beside it |
| first quant | the same on the first quant, with the parent's reading made and kept on the way |
| second quant | the same on the second quant, from that reading |
| in a worker | both quants one after the other in a process that has judged before, as the service does |
| peer | the KL divergence alone by llama-perplexity's method in llama-cpp-python, on two texts, without a sandbox |

The peer needs `python -m benchmarks.requantizing --build-peers` once; without it the ratio is against the parent run.
`--smoke` runs each once; its ratio means nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks._peers import find_peers
from conversion.inference.windows import FOLDER, PROSE
from tests.conversion.inference.ggufs import BASE, convert

HERE = Path(__file__).resolve().parent
OURS = """
import contextlib, io, json, resource, sys
from conversion.inference.__main__ import main
out = io.StringIO()
with contextlib.redirect_stdout(out):
    code = main()
found = json.loads(out.getvalue())
cost = next(check["value"] for check in found["checks"] if check["id"] == "cost")
print(json.dumps({
    "n_children": cost["starts"]["n_children"], "starting": cost["starts"]["seconds"] / found["seconds"],
    "kld": found["figures"]["mean_kld"], "verdict": found["verdict"], "seconds": found["seconds"],
    "controller_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
}))
"""

WORKER = """
import json, os, resource, sys, time
from contextlib import ExitStack
from pathlib import Path
from conversion.inference.judge import judge
from conversion.inference.local import open_local, with_reading
from conversion.inference.starting import counting_starts

parent, reading, first, second = map(Path, sys.argv[1:])

def cpu_seconds():
    return sum(os.times()[:4])

def told(quant):
    began, cpu = time.perf_counter(), cpu_seconds()
    with counting_starts() as starts, ExitStack() as stack:
        reference = with_reading(open_local(parent, stack), reading, lambda phase, share: None, of_gguf=True)
        report = judge(quant, reference)
    seconds = time.perf_counter() - began
    return {"kld": report.figures.mean_kld, "seconds": seconds, "cpu_seconds": cpu_seconds() - cpu,
            "n_children": starts.n_children, "starting": starts.seconds / seconds,
            "controller_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}

told(second)
reading.unlink()
print(json.dumps([told(first), told(second)]))
"""


IN_A_WORKER = ("first quant, in a worker", "second quant, in a worker")


@dataclass(frozen=True)
class Side:
    """One process: its wall and CPU seconds, and what it said of itself."""

    seconds: float
    cpu_seconds: float
    said: dict[str, float | str]


def run(command: list[str]) -> Side:
    """RuntimeError with what it said if it fails."""
    import time

    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said, wrong = process.stdout.read(), process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    for stream in (process.stdout, process.stderr):
        stream.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} failed:\n{wrong[-2000:]}")
    return Side(seconds, used.ru_utime + used.ru_stime, json.loads(said.splitlines()[-1]))


def ours(artifact: Path, parent: Path, reading: Path | None = None) -> list[str]:
    kept = ["--reading", str(reading)] if reading else []
    return [sys.executable, "-c", OURS, str(artifact), "--parent", str(parent), "--json", *kept]


def in_a_worker(parent: Path, first: Path, second: Path, reading: Path) -> list[Side]:
    """The first quant and the second, judged by one process."""
    command = [sys.executable, "-c", WORKER, *map(str, (parent, reading, first, second))]
    found = json.loads(
        subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
    )
    return [Side(one["seconds"], one["cpu_seconds"], one) for one in found]


def peer_command(artifact: Path, parent: Path) -> list[str] | None:
    """The peer, where it is built."""
    peers = find_peers()
    if peers.library is None:
        return None
    texts = [str(FOLDER / name) for name in PROSE]
    return [str(peers.python), str(HERE / "_perplexity.py"), str(parent), str(artifact), *texts]


def _starting(side: Side) -> str:
    if "starting" not in side.said:
        return ""
    return f"  {side.said['n_children']} engines started in {float(side.said['starting']):.0%}"


def best(sides: list[Side]) -> Side:
    return min(sides, key=lambda side: side.cpu_seconds)


def measure(parent: Path, first: Path, second: Path, rounds: int, folder: Path, *, is_smoke: bool) -> None:
    """Prints each side and the ratios."""
    reading = folder / "parent.reading"
    sides: dict[str, list[Side]] = {"first quant": [], "second quant": [], "parent run": [], "peer": []}
    peer = None if is_smoke else peer_command(second, parent)
    for _ in range(rounds):
        reading.unlink(missing_ok=True)
        sides["first quant"].append(run(ours(first, parent, reading)))
        sides["second quant"].append(run(ours(second, parent, reading)))
        if not is_smoke:
            sides["parent run"].append(run(ours(second, parent)))
        if peer:
            sides["peer"].append(run(peer))
    reading.unlink(missing_ok=True)
    worker = [] if is_smoke else in_a_worker(parent, first, second, reading)
    chosen = {name: best(found) for name, found in sides.items() if found} | dict(
        zip(IN_A_WORKER, worker, strict=False)
    )
    for name, side in chosen.items():
        memory = f"{side.said['controller_mb']:5.0f} MB" if "controller_mb" in side.said else " " * 8
        times = f"{side.seconds:7.2f} s  {side.cpu_seconds:7.2f} s CPU"
        print(f"  {name:24} {times}  {memory}  mean KLD {side.said['kld']:.4g}{_starting(side)}")
    for where in ("", ", in a worker"):
        if f"second quant{where}" in chosen:
            share = chosen[f"second quant{where}"].cpu_seconds / chosen[f"first quant{where}"].cpu_seconds
            print(f"second quant of a parent{where}: {share:.2f} of the first, by CPU time")
    against = "peer" if "peer" in chosen else "parent run" if "parent run" in chosen else "first quant"
    ratio = chosen[against].cpu_seconds / chosen["second quant"].cpu_seconds
    words = "llama-perplexity's method in llama-cpp-python" if against == "peer" else f"the {against}"
    print(f"ratio: {ratio:.2f} (all checks on the second quant, CPU time; against {words})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parent", type=Path)
    parser.add_argument("--artifacts", type=Path, nargs=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    rounds = 1 if options.smoke else options.rounds
    with tempfile.TemporaryDirectory(dir=os.environ.get("HOLDFAST_BENCH_DIR")) as name:
        folder = Path(name)
        parent = options.parent or convert(BASE, "F32", folder / "base-F32.gguf")
        first, second = options.artifacts or [
            convert(BASE, kind, folder / f"base-{kind}.gguf") for kind in ("Q8_0", "Q4_0")
        ]
        measure(parent, first, second, rounds, folder, is_smoke=options.smoke)


if __name__ == "__main__":
    main()
