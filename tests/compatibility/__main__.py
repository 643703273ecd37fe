"""`python -m tests.compatibility CHECKOUT`: huggingface_hub's own suite against a server of ours.

CHECKOUT is a work tree of huggingface_hub's repository, and `--python` an interpreter in which that very version and
what its suite needs are installed (`pip install CHECKOUT pytest pytest-env pytest-mock pytest-vcr pytest-asyncio jedi
Jinja2 Pillow numpy fastapi "urllib3<2"`). A whole run writes docs/compatibility.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.compatibility.report import Outcome, read_outcomes, write_report

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "compatibility.md"
FILES = [
    "test_hf_api.py", "test_file_download.py", "test_snapshot_download.py", "test_commit_api.py",
    "test_hf_file_system.py", "test_cli.py",
]  # fmt: skip
NO_LIMITS = "api=0,resolvers=0,pages=0,sign_in=0,tokens=0"
LONGEST_SECONDS = 7200


def main() -> int:
    """0 when every test passed or does not apply."""
    options = _read_arguments()
    folder = Path(tempfile.mkdtemp(prefix="compatibility-"))
    os.environ["HOLDFAST_DATA"] = str(folder)  # where a deployment keeps its migrated database
    outcomes = run_suite(options.checkout.resolve(), options.python, folder, options.k)
    if options.json:
        print(json.dumps([vars(outcome) for outcome in outcomes], indent=1))
    if not options.k:
        DOCUMENT.write_text(write_report(outcomes, version_of(options.checkout)))
    _print_end(outcomes, folder if options.keep else None)
    return int(any(outcome.verdict == "failed" for outcome in outcomes))


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.compatibility", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a work tree of huggingface_hub's repository")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with that version installed")
    parser.add_argument("--keep", action="store_true", help="say where the server's logs and data were left")
    parser.add_argument("--json", action="store_true", help="every outcome as JSON on stdout")
    parser.add_argument(
        "-k", default="", metavar="WORDS", help="only these tests, as pytest takes it; writes no document"
    )
    return parser.parse_args()


def run_suite(checkout: Path, python: str, folder: Path, words: str = "") -> list[Outcome]:
    """What became of every test of FILES against a fresh server, which is gone afterwards."""
    from tests.compatibility.seeding import seed
    from tests.services.deployment import Deployment

    with Deployment(folder / "server", HOLDFAST_RATE_LIMITS=NO_LIMITS) as server:
        constants = _cast(server)
        endpoint = server.start_web()
        server.start_worker(concurrency=1)
        constants |= {
            "ENDPOINT_STAGING": endpoint,
            "ENDPOINT_PRODUCTION": endpoint,
            "ENDPOINT_PRODUCTION_URL_SCHEME": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        }
        constants |= seed(endpoint, constants["TOKEN"])
        server.wait_for_jobs(seconds=600)  # cards are read by the worker, and the list is filtered by them
        _run_pytest(checkout, python, folder, constants, words)
    return read_outcomes(folder / "outcomes.json")


def _cast(server: Any) -> dict[str, str]:
    code = "from tests.compatibility.cast import make_cast; make_cast()"
    printed = server.manage("shell", "-v", "0", "-c", code).stdout
    return dict(json.loads(printed.strip().splitlines()[-1]))


def _run_pytest(checkout: Path, python: str, folder: Path, constants: dict[str, str], words: str) -> None:
    """The suite in a child, its report on stderr. That tests fail is an outcome, not an error."""
    suite = {"constants": constants, "outcomes": str(folder / "outcomes.json")}
    (folder / "suite.json").write_text(json.dumps(suite))
    (folder / "home").mkdir()
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HOLDFAST_", "PYTEST_"))
    }
    env |= {
        "HOLDFAST_SUITE": str(folder / "suite.json"), "PYTHONPATH": str(HERE), "HOME": str(folder / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [
        python,
        "-m",
        "pytest",
        "-p",
        "pointing",
        *_pytest_options(words),
        *(f"tests/{file}" for file in FILES),
    ]
    subprocess.run(command, cwd=checkout, env=env, stdout=sys.stderr, timeout=LONGEST_SECONDS, check=False)


def _pytest_options(words: str) -> Sequence[str]:
    plain = [
        "-o",
        "addopts=-Werror::FutureWarning --strict-markers",
        "-q",
        "--tb=line",
        "-p",
        "no:cacheprovider",
    ]
    return [*plain, "-k", words] if words else plain


def version_of(checkout: Path) -> str:
    """What the checkout calls itself."""
    source = (checkout / "src" / "huggingface_hub" / "__init__.py").read_text()
    line = next(line for line in source.splitlines() if line.startswith("__version__"))
    return line.split('"')[1]


def _print_end(outcomes: list[Outcome], folder: Path | None) -> None:
    verdicts = [outcome.verdict for outcome in outcomes]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    asked = sum(outcome.verdict == "passed" and outcome.answers > 0 for outcome in outcomes)
    kept = f" Logs: {folder}" if folder else ""
    print(
        f"{len(outcomes)} tests: {counts}; {asked} of those that passed asked the server.{kept}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
