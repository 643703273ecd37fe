"""How fast repos come home, verified, and what the client costs.

    python -m benchmarks.pulling [--gigabytes 2] [--files 1000] [--rounds 3] [--only WORD] [--smoke]
    python -m benchmarks.pulling --endpoint URL --repo org/name --folder DIR    # any other index; DIR holds the files

| row                 | from                                         | promise                                      |
|---------------------|----------------------------------------------|----------------------------------------------|
| one file of 2 GB    | `manage.py web`, embedded; then with S3, to  | at most 0.8 of the wall time of `hf download`, |
| 1,000 small files   | which it redirects                           | which does not verify; at most 1.1 of        |
| capped lines        | the loopback hub, 20 MB/s a connection       | `aria2c -x8` and sha256sum                   |
| `holdfast --version`|                                              | under 0.15 s                                 |
| `holdfast list`     | a cache of 1,000 repos                       | under 0.5 s                                  |

Same server, same files, whole processes, taking turns at being first; the best round of each counts, because everything
else on the machine only adds. CPU seconds are the client's with its children. Our peak memory is promised below 120 MB.
aria2c is helped: it gets a list of all URLs and digests that was made for it, eight files at once, nothing allocated
beforehand. HOLDFAST_BENCH_DIR names a folder to work in; a memory disk takes the disk out of the comparison, and 2 GB
need 6 GB there.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import _pullers as pullers
from benchmarks._peers import Measured
from benchmarks._pullers import ARIA, REPO_ID, Serving, Source

PROMISED = {"hf download": 0.8, ARIA: 1.1}
PROMISED_PEAK_MB = 120
PROMISED_START_SECONDS, PROMISED_LIST_SECONDS = 0.15, 0.5
CAPPED_BYTES_PER_SECOND = 20_000_000
SMALL_BYTES = 20_000


class Row(NamedTuple):
    """One comparison: what is pulled, and who serves it."""

    title: str
    sizes: dict[str, int]
    serving: Serving


def rows(size_bytes: int, n_files: int) -> list[Row]:
    """The comparisons of a full run."""
    large = {"model.safetensors": size_bytes}
    small = {f"folder{n // 100}/{n:04}.json": SMALL_BYTES for n in range(n_files)}
    capped = {"model.safetensors": size_bytes // 8}
    servers = {"embedded": pullers.embedded, "redirects to S3": pullers.redirecting}
    files = {"one large file": large, f"{n_files} small files": small}
    return [
        Row(f"{what}, {who}", sizes, serving)
        for who, serving in servers.items()
        for what, sizes in files.items()
    ] + [Row("capped lines, loopback hub", capped, pullers.loopback(CAPPED_BYTES_PER_SECOND))]


def smoke_rows() -> list[Row]:
    """Seconds, without a deployment."""
    sizes = {"model.safetensors": 6_000_000} | {f"{n}.json": 100 for n in range(20)}
    return [Row("a few files, loopback hub", sizes, pullers.loopback())]


@contextmanager
def working_folder() -> Iterator[Path]:
    """An empty folder that goes with everything in it."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=os.environ.get("HOLDFAST_BENCH_DIR")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run_row(row: Row, rounds: int) -> bool:
    """Prints one comparison; whether its promises are kept."""
    with working_folder() as work:
        pullers.make_files(work / "files", row.sizes)
        with row.serving(work / "files", work) as url:
            source = Source(url, REPO_ID, work / "files", sum(row.sizes.values()))
            return compare(row.title, source, work, rounds)


def compare(title: str, source: Source, work: Path, rounds: int) -> bool:
    """Pulls with every program, each time into an empty home."""
    commands = pullers.commands(source, work)
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    names = list(commands)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            runs[name].append(pullers.run(commands[name], work / "home", source.url))
            shutil.rmtree(work / "home")
    print(f"\n{title}, {source.size_bytes / 1e9:.2f} GB, best of {rounds}")
    for name, measured in runs.items():
        rate = source.size_bytes / 1e6 / best_seconds(measured)
        peak = max(one.peak_mb for one in measured)
        cpu = min(one.cpu_seconds for one in measured)
        print(
            f"  {name:22} {best_seconds(measured):7.2f} s {rate:6.0f} MB/s {cpu:7.2f} s CPU {peak:5.0f} MB peak"
        )
    return judge(title, runs)


def best_seconds(measured: list[Measured]) -> float:
    return min(one.seconds for one in measured)


def judge(title: str, runs: dict[str, list[Measured]]) -> bool:
    """Prints the ratio to each peer, below 1 if we are faster."""
    ours = runs["holdfast pull"]
    kept = max(one.peak_mb for one in ours) < PROMISED_PEAK_MB
    for peer, promised in PROMISED.items():
        ratio = best_seconds(ours) / best_seconds(runs[peer])
        print(f"ratio: {ratio:.2f} (holdfast pull, verified, against {peer}: {title}; promised {promised})")
        kept = kept and ratio <= promised
    return kept


def make_cache(hub: Path, n_repos: int) -> None:
    """A cache of so many repos of one commit with three files, as huggingface_hub lays it out."""
    for n in range(n_repos):
        repo = hub / f"models--org--model-{n:04}"
        commit = hashlib.sha1(repo.name.encode(), usedforsecurity=False).hexdigest()
        snapshot = repo / "snapshots" / commit
        for folder in (snapshot, repo / "blobs", repo / "refs"):
            folder.mkdir(parents=True)
        (repo / "refs" / "main").write_text(commit)
        for name in ("config.json", "README.md", "model.safetensors"):
            content = f"{name} of {n}".encode()
            sha256 = hashlib.sha256(content).hexdigest()
            (repo / "blobs" / sha256).write_bytes(content)
            (snapshot / name).symlink_to(f"../../blobs/{sha256}")


def run_starts(n_repos: int, rounds: int) -> bool:
    """Prints how long the commands take that move no bytes; whether the promises are kept."""
    kept = True
    pairs = {
        "--version": (pullers.holdfast("--version"), pullers.hf("version"), PROMISED_START_SECONDS),
        "list": (pullers.holdfast("-q", "list"), pullers.hf("cache", "ls"), PROMISED_LIST_SECONDS),
    }
    with working_folder() as home:
        make_cache(home / "hub", n_repos)
        print(f"\nstart, and a cache of {n_repos} repos, best of {rounds}")
        for name, (ours, theirs, promised) in pairs.items():
            both = [(pullers.run(ours, home), pullers.run(theirs, home)) for _round in range(rounds)]
            seconds, peer = best_seconds([one for one, _ in both]), best_seconds([other for _, other in both])
            cpu = min(one.cpu_seconds for one, _ in both)
            print(
                f"  holdfast {name}: {seconds:.3f} s, {cpu:.3f} s CPU (promised {promised} s); hf: {peer:.3f} s"
            )
            print(f"ratio: {seconds / peer:.2f} (holdfast {name} against hf)")
            kept = kept and seconds < promised
    return kept


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repos", type=int, default=1000, help="in the cache that is listed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose title contains this; `start` is the last")
    parser.add_argument("--endpoint", help="measure this running index instead")
    parser.add_argument("--repo", default=REPO_ID, help="what to pull from --endpoint")
    parser.add_argument("--folder", type=Path, help="a folder with the same files as that repo")
    parser.add_argument("--smoke", action="store_true", help="a few files once, not judged")
    options = parser.parse_args()
    if options.endpoint and not options.folder:
        parser.error("--endpoint needs --folder")
    if options.smoke:
        options.rounds, options.repos = 1, 20
    return options


def run_endpoint(options: argparse.Namespace) -> bool:
    size = sum(path.stat().st_size for path in pullers.files_of(options.folder))
    source = Source(options.endpoint, options.repo, options.folder.resolve(), size)
    with working_folder() as work:
        return compare(f"{options.repo} of {options.endpoint}", source, work, options.rounds)


def main() -> int:
    options = read_options()
    if options.endpoint:
        return 0 if run_endpoint(options) else 1
    todo = smoke_rows() if options.smoke else rows(int(options.gigabytes * 1e9), options.files)
    with working_folder() as template:
        os.environ.setdefault("HOLDFAST_DATA", str(template))  # where Deployment keeps its empty database
        os.environ.pop("HOLDFAST_TEST_STORE_URL", None)
        kept = [run_row(row, options.rounds) for row in todo if options.only in row.title]
    if options.only in "start":
        kept.append(run_starts(options.repos, options.rounds))
    print("kept" if all(kept) else "BROKEN")
    return 0 if options.smoke or all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
