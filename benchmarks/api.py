"""The Hub API on PostgreSQL with 100,000 repos, against a Django view that does nothing on the same server.

    python -m benchmarks.api [--repos 100000] [--rounds 12] [--requests 30] [--folder DIR] [--smoke]

| rows                     | promise: p95 against p95 of the empty view                               |
|--------------------------|--------------------------------------------------------------------------|
| info, tree, HEAD resolve | below 4 times, and no more at 100,000 repos than at 1,000 (within noise) |
| lists, searches, filters | below 10 times, pages of 20                                              |
| the others               | shown, nothing promised                                                  |

The repos are invented (`benchmarks/seeded`), the server is `manage.py web`, the client this process on one kept
connection. Every question is asked of other repos each time, so no cache answers. The questions take turns, one
request each, so that other work on the machine slows all alike; each round has a ratio of its own and the median of
these counts. Rate limits are off, but for one row that says what they cost.
"""

import argparse
import os
import socket
import statistics
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import quote

from benchmarks.seeded.invented import FAMILIES, LANGUAGES, SYLLABLES, TOPICS, InventedRepo, invent
from tests.services.deployment import Deployment
from tests.services.postgres import running_postgres

FEW = 1000
ONE, MANY, GROWTH = (
    4.0,
    10.0,
    1.5,
)  # promised: times the empty view, of one repo and of many; times the small database
NO_LIMITS = "api=0,resolvers=0,pages=0,sign_in=0,tokens=0"
WIDE_LIMITS = "api=100000000/300,resolvers=100000000/300,pages=100000000/300"

Draw = Callable[[InventedRepo, Random], str]


@dataclass(frozen=True)
class Question:
    """What is asked, with which promise (0: none), and the URL for a repo."""

    name: str
    promise: float
    path: Draw
    method: str = "GET"
    with_token: bool = False
    is_limited: bool = False


def _list(query: Callable[[InventedRepo, Random], str]) -> Draw:
    return lambda repo, draw: f"/api/models?limit=20&{query(repo, draw)}"


def _cursor(repo: InventedRepo, draw: Random) -> str:
    return "cursor=" + quote(urlsafe_b64encode(f"|{repo.number}".encode()))


QUESTIONS = [
    Question("empty view", 0, lambda repo, draw: "/empty"),
    Question("info", ONE, lambda repo, draw: f"/api/models/{repo.repo_id}"),
    Question("info at a revision", ONE, lambda repo, draw: f"/api/models/{repo.repo_id}/revision/main"),
    Question("info, with a token", ONE, lambda repo, draw: f"/api/models/{repo.repo_id}", with_token=True),
    Question("info, rate limits on", 0, lambda repo, draw: f"/api/models/{repo.repo_id}", is_limited=True),
    Question("tree", ONE, lambda repo, draw: f"/api/models/{repo.repo_id}/tree/main"),
    Question(
        "tree, recursive", ONE, lambda repo, draw: f"/api/models/{repo.repo_id}/tree/main?recursive=true"
    ),
    Question(
        "HEAD resolve", ONE, lambda repo, draw: f"/{repo.repo_id}/resolve/main/README.md", method="HEAD"
    ),
    Question("GET resolve", 0, lambda repo, draw: f"/{repo.repo_id}/resolve/main/README.md"),
    Question("refs", 0, lambda repo, draw: f"/api/models/{repo.repo_id}/refs"),
    Question("commits", 0, lambda repo, draw: f"/api/models/{repo.repo_id}/commits/main"),
    Question("list", MANY, _list(lambda repo, draw: "")),
    Question("list, a later page", MANY, _list(_cursor)),
    Question("list by last change", MANY, _list(lambda repo, draw: "sort=lastModified&direction=-1")),
    Question("list of an author", MANY, _list(lambda repo, draw: f"author={repo.namespace}")),
    Question("list of a task", MANY, _list(lambda repo, draw: f"pipeline_tag={FAMILIES[repo.family][0]}")),
    Question(
        "list of tags", MANY, _list(lambda repo, draw: f"filter={repo.topic}&filter={draw.choice(LANGUAGES)}")
    ),
    Question("list by licence", MANY, _list(lambda repo, draw: f"filter=license:{quote(repo.license)}")),
    Question("children of a repo", MANY, _list(lambda repo, draw: f"filter=base_model:{repo.repo_id}")),
    Question("search, many found", MANY, _list(lambda repo, draw: f"search={draw.choice(TOPICS)}")),
    Question("search, one found", MANY, _list(lambda repo, draw: f"search={repo.name}")),
    Question(
        "search, none found",
        MANY,
        _list(lambda repo, draw: f"search={'zq'.join(draw.choices(SYLLABLES, k=3))}"),
    ),
    Question("list, 1000 a page", 0, lambda repo, draw: "/api/models"),
]


class Connection:
    """One kept connection, read as plainly as can be: what the client takes is in every figure."""

    def __init__(self, url: str, token: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._host, self._token = f"{host}:{port}", token

    def ask(self, question: Question, path: str) -> float:
        """Seconds to the last byte of the answer."""
        authorization = f"Authorization: Bearer {self._token}\r\n" if question.with_token else ""
        head = (
            f"{question.method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: */*\r\n{authorization}\r\n"
        )
        started = time.perf_counter()
        self._socket.sendall(head.encode())
        status, length = self._file.readline(), 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if question.method != "HEAD":
            self._file.read(length)
        seconds = time.perf_counter() - started
        if b" 200 " not in status:
            raise SystemExit(f"{question.method} {path} answered {status.decode().strip()}")
        return seconds

    def close(self) -> None:
        self._socket.close()


def drawn(draw: Random, count: int) -> Iterator[InventedRepo]:
    """Public models of the first `count` repos, without end."""
    while True:
        repo = invent(draw.randrange(count))
        if not (repo.private or repo.gated or repo.is_dataset):
            yield repo


def p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.95)]


@dataclass(frozen=True)
class Figures:
    """Of one question: milliseconds, and p95 over the p95 of the empty view of the same round."""

    p50_ms: float
    p95_ms: float
    ratio: float


def measure(urls: dict[bool, str], token: str, count: int, options: argparse.Namespace) -> dict[str, Figures]:
    """The figures of each question in a database of `count` repos."""
    connections = {limited: Connection(url, token) for limited, url in urls.items()}
    draw = Random(count)
    repos = drawn(draw, count)

    def one_round(requests: int) -> dict[str, list[float]]:
        times: dict[str, list[float]] = {question.name: [] for question in QUESTIONS}
        for _ in range(requests):
            for question in draw.sample(QUESTIONS, k=len(QUESTIONS)):
                path = question.path(next(repos), draw)
                times[question.name].append(connections[question.is_limited].ask(question, path))
        return times

    one_round(options.warm)  # every thread of the server has its connection to the database by then
    rounds = [one_round(options.requests) for _ in range(options.rounds)]
    for connection in connections.values():
        connection.close()
    return {question.name: _figures(question.name, rounds) for question in QUESTIONS}


def _figures(name: str, rounds: list[dict[str, list[float]]]) -> Figures:
    every = [seconds for times in rounds for seconds in times[name]]
    ratios = [p95(times[name]) / p95(times["empty view"]) for times in rounds]
    return Figures(statistics.median(every) * 1000, p95(every) * 1000, statistics.median(ratios))


def report(few: dict[str, Figures], many: dict[str, Figures], options: argparse.Namespace) -> bool:
    """Prints the table; whether every promise was kept."""
    kept = True
    print(f"\n{'':24}{f'{options.few} repos':>22}{f'{options.repos} repos':>28}")
    print(f"{'':24}{'p95 ms':>12}{'ratio':>10}{'p50 ms':>10}{'p95 ms':>8}{'ratio':>10}{'promised':>10}")
    for question in QUESTIONS:
        small, large = few[question.name], many[question.name]
        broken = question.promise and large.ratio >= question.promise
        grown = question.promise == ONE and large.ratio > GROWTH * small.ratio
        kept &= not (broken or grown)
        promised = f"< {question.promise:g}" if question.promise else ""
        said = "  BROKEN" if broken else "  GROWN" if grown else ""
        print(
            f"{question.name:24}{small.p95_ms:12.2f}{small.ratio:10.2f}{large.p50_ms:10.2f}{large.p95_ms:8.2f}"
            f"{large.ratio:10.2f}{promised:>10}{said}"
        )
    for promise, what in [(ONE, "info, tree and HEAD resolve"), (MANY, "lists and searches")]:
        worst = max(many[question.name].ratio for question in QUESTIONS if question.promise == promise)
        print(
            f"ratio: {worst:.2f} (the slowest of {what} against an empty Django view, p95; promised {promise:g})"
        )
    return kept


def _start(deployment: Deployment, *, is_smoke: bool) -> tuple[dict[bool, str], str]:
    """({whether rates are limited: URL of a server}, a token). For a smoke run one server, with limits, is both."""
    token = deployment.manage("token", "create", "reader", "--new-user").stdout.strip()
    unlimited = "" if is_smoke else deployment.start_web()
    deployment.env["HOLDFAST_RATE_LIMITS"] = WIDE_LIMITS
    limited = deployment.start_web()
    return {False: unlimited or limited, True: limited}, token


def _seed(deployment: Deployment, count: int, *more: str) -> None:
    print(deployment.manage("seed", "--repos", str(count), *more).stdout.strip(), flush=True)


def run(folder: Path, options: argparse.Namespace) -> bool:
    with ExitStack() as stack:
        if not (options.smoke or os.environ.get("HOLDFAST_TEST_DATABASE_URL")):
            (folder / "postgres").mkdir()
            os.environ["HOLDFAST_TEST_DATABASE_URL"] = stack.enter_context(
                running_postgres(folder / "postgres")
            )
        settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.seeded.settings", "HOLDFAST_RATE_LIMITS": NO_LIMITS}
        deployment = stack.enter_context(Deployment(folder / "deployment", **settings))
        _seed(deployment, options.few)
        urls, token = _start(deployment, is_smoke=options.smoke)
        few = many = measure(urls, token, options.few, options)
        if not options.smoke:
            _seed(deployment, options.repos - options.few, "--add")
            many = measure(urls, token, options.repos, options)
    return report(few, many, options) or options.smoke


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repos", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=12, help="default %(default)s")
    parser.add_argument(
        "--requests", type=int, default=30, help="of each question, a round (default %(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, help="for the database (default: the system's temporary folder)"
    )
    parser.add_argument("--smoke", action="store_true", help="100 repos on SQLite, once, not judged")
    options = parser.parse_args()
    options.few, options.warm = FEW, 5
    if options.smoke:
        options.few = options.repos = 100
        options.rounds, options.requests, options.warm = 1, 2, 0
    return options


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="bench-api-", dir=options.folder) as made:
        folder = Path(made)
        os.environ.setdefault(
            "HOLDFAST_DATA", str(folder / "template")
        )  # where Deployment keeps its empty database
        os.environ.pop("HOLDFAST_TEST_STORE_URL", None)
        Path(os.environ["HOLDFAST_DATA"]).mkdir(parents=True, exist_ok=True)
        kept = run(folder, options)
    print("kept" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
