"""`make test`: every check and every test, one summary. `python -m tests.run [all|lint|embedded|servers|soak]`.

The suite runs twice: on the embedded default (SQLite, directory, filesystem broker), and, for everything that
has two back ends, on PostgreSQL, an S3 server and Redis, which are started here from wheels unless
HOLDFAST_TEST_DATABASE_URL or HOLDFAST_TEST_STORE_URL name others.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

BIN = Path(sys.executable).parent
TWO_BACKENDS = ["tests/registry", "tests/mirror", "tests/conversion", "tests/end_to_end"]
PURE = [
    "tests/conversion/formats",
    "tests/conversion/quants",
    "tests/conversion/naming",
    "tests/conversion/inference",
    "tests/mirror/upstream",
    "tests/mirror/blobs",  # tests both stores itself, in either run
]
# Programs that the tests use, by the names that they may have, and Debian's package of each.
PROGRAMS = {
    ("chromium", "chromium-browser", "google-chrome"): "chromium",
    ("git-lfs",): "git-lfs",
    ("skopeo",): "skopeo",
    ("aria2c",): "aria2",
    ("nginx",): "nginx-light",
}
NOT_TWICE = "not soak and not browser and not one_backend"


@dataclass
class Step:
    """One command of the run and what came of it."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    seconds: float = 0.0
    status: int | None = None
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def run(self) -> None:
        print(f"\n== {self.name}", flush=True)
        self._run(None)

    def run_quietly(self) -> None:
        """What it prints comes at its end, in one piece, so that others may run beside it."""
        with tempfile.TemporaryFile("w+") as printed:
            self._run(printed)
            printed.seek(0)
            print(f"\n== {self.name}\n{printed.read()}", end="", flush=True)

    def _run(self, output: IO[str] | None) -> None:
        started = time.monotonic()
        done = subprocess.run(
            self.command, env={**os.environ, **self.env}, check=False, stdout=output, stderr=output
        )
        self.status, self.seconds = done.returncode, time.monotonic() - started

    def line(self) -> str:
        verdict = "ok" if self.status == 0 else f"FAILED (exit {self.status})"
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped" if self.passed else ""
        return f"  {self.name:<42} {verdict:<18} {self.seconds:6.0f} s  {counts}"


def lint_steps() -> list[Step]:
    django = [sys.executable, "manage.py"]
    data = {"HOLDFAST_DATA": tempfile.mkdtemp(prefix="holdfast-lint-")}
    production = data | {
        "HOLDFAST_HTTPS": "1",
        "HOLDFAST_ALLOWED_HOSTS": "models.example.org",
        "HOLDFAST_SECRET_KEY": "9f3a" * 16 + "-not-a-secret",
    }
    return [
        Step("formatting", [f"{BIN}/ruff", "format", "--check", "."], {}),
        Step("lint", [f"{BIN}/ruff", "check", "."], {}),
        Step("types: server", [f"{BIN}/mypy", "registry", "mirror", "conversion"], data),
        Step("types: client", [f"{BIN}/mypy", "--config-file", "client/pyproject.toml", "client/src"], {}),
        Step("import contracts", [f"{BIN}/lint-imports"], data),
        Step("migrations match models", [*django, "makemigrations", "--check", "--dry-run"], data),
        Step("deployment check", [*django, "check", "--deploy", "--fail-level", "WARNING"], production),
    ]


def run_side_by_side(steps: Sequence[Step]) -> None:
    """All of them, the longest begun first: the types of the server keep one core busy, the rest the other."""
    longest_first = sorted(steps, key=lambda step: not step.name.startswith("types"))
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(Step.run_quietly, longest_first))


def pytest_step(name: str, arguments: Sequence[str], env: Mapping[str, str]) -> Step:
    report = Path(tempfile.mkdtemp(prefix="holdfast-report-")) / "junit.xml"
    command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", "--durations=20", *arguments]
    step = Step(name, command, env)
    step.run()
    if report.exists():
        _count(step, report)
        _show_slowest_files(report)
    shutil.rmtree(report.parent, ignore_errors=True)
    return step


def _count(step: Step, report: Path) -> None:
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        step.failed += failed
        step.skipped += skipped
        step.passed += total - failed - skipped


def _show_slowest_files(report: Path, n_files: int = 15) -> None:
    """Where the minutes go: a run is as long as its files, since each is run by one process."""
    seconds: Counter[str] = Counter()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        module = case.get("classname", "").split(".Test")[0]
        seconds[module] += float(case.get("time", 0))
    print(f"slowest files, of {seconds.total():.0f} s in all processes:")
    for module, taken in seconds.most_common(n_files):
        print(f"{taken:7.1f} s  {module.replace('.', '/')}.py", flush=True)


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """PostgreSQL, an S3 server and Redis for the tests; the environment that points them there."""
    from tests.services.objectstore import running_weed
    from tests.services.postgres import running_postgres

    folder = Path(tempfile.mkdtemp(prefix="holdfast-servers-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        database = os.environ.get("HOLDFAST_TEST_DATABASE_URL") or stack.enter_context(
            running_postgres(folder / "postgres")
        )
        store = os.environ.get("HOLDFAST_TEST_STORE_URL") or stack.enter_context(
            running_weed(folder / "weed")
        )
        yield {
            "DATABASE_URL": database,
            "HOLDFAST_TEST_DATABASE_URL": database,
            "HOLDFAST_TEST_STORE_URL": store,
            "HOLDFAST_TEST_BROKER": "redis",
        }


@contextmanager
def template(server: str | None) -> Iterator[dict[str, str]]:
    """A migrated database for every process of a run to copy; the environment that names it."""
    from tests.services.databases import TEMPLATE, make_template

    with tempfile.TemporaryDirectory(prefix="holdfast-template-") as folder:
        yield {TEMPLATE: make_template(server, Path(folder))}


def ensure_programs() -> None:
    """The programs that we are tried with are there, or a loud line says which tests will not run.

    CI never goes without a browser.
    """
    if (missing := missing_packages()) and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"== installing {', '.join(missing)} with apt", flush=True)
        install = f"apt-get update -qq && apt-get install -y -qq {' '.join(missing)}"
        subprocess.run(install, shell=True, check=False)
    missing = missing_packages()
    for package in missing:
        print(f"!! NO {package}: tests that need it will be skipped. Install the package.", flush=True)
    if "chromium" in missing and os.environ.get("CI") == "true":
        sys.exit("!! CI=true and no Chromium: refusing to go without the browser tests")


def missing_packages() -> list[str]:
    found = {package for names, package in PROGRAMS.items() if any(map(shutil.which, names))}
    return [package for package in PROGRAMS.values() if package not in found]


def ensure_torch() -> None:
    """With TORCH=1 the optional reference engine is there; the CPU build where the package index has one."""
    if os.environ.get("TORCH") != "1" or subprocess.run([sys.executable, "-c", "import torch, accelerate"], check=False,
                                                        stderr=subprocess.DEVNULL).returncode == 0:  # fmt: skip
        return
    print("== installing torch (TORCH=1)", flush=True)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
    subprocess.run([*install, "torch==2.13.0", "accelerate==1.15.0"], check=True)


def run_tests(which: str) -> list[Step]:
    ensure_programs()
    ensure_torch()
    processes = os.environ.get(
        "HOLDFAST_TEST_PROCESSES", "4"
    )  # on 2 cores: many a test waits for a process of its own
    parallel = ["-n", processes, "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not soak"]
    steps = []
    if which in ("all", "embedded"):
        with template(None) as env:
            steps.append(pytest_step("tests: SQLite, directory, filesystem", [*parallel, "tests"], env))
    if which in ("all", "servers"):
        ignored = [f"--ignore={folder}" for folder in PURE]
        with servers() as env, template(env["DATABASE_URL"]) as more:
            chosen = [*parallel[:-1], NOT_TWICE, *TWO_BACKENDS, *ignored]
            steps.append(pytest_step("tests: PostgreSQL, S3, Redis", chosen, env | more))
    return steps


def main() -> None:
    # A shell that started us in the background made SIGINT ignored, and every child would inherit that: tests of
    # Ctrl-C would test nothing. With a handler of ours, children begin with the default again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    which = sys.argv[1] if len(sys.argv) > 1 else "all"
    started = time.monotonic()
    steps = lint_steps() if which in ("all", "lint") else []
    run_side_by_side(steps)
    if which in ("all", "embedded", "servers"):
        steps += run_tests(which)
    elif which == "soak":
        steps.append(pytest_step("soak", ["-m", "soak", "tests"], {}))
    _summarise(steps, time.monotonic() - started)


def _summarise(steps: list[Step], seconds: float) -> None:
    print("\n== summary")
    for step in steps:
        print(step.line())
    failed_steps = [step for step in steps if step.status != 0]
    passed, failed, skipped = (
        sum(getattr(step, what) for step in steps) for what in ("passed", "failed", "skipped")
    )
    print(
        f"  in {seconds / 60:.1f} minutes; "
        + ("ALL GOOD" if not failed_steps else f"{len(failed_steps)} FAILED")
    )
    if passed or failed:
        print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed_steps else 0)


if __name__ == "__main__":
    main()
