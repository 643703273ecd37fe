"""A whole Holdfast of a test's own: data folder, database, store and broker; processes as the test asks.

Backends follow the run: HOLDFAST_TEST_DATABASE_URL puts databases on that PostgreSQL server,
HOLDFAST_TEST_STORE_URL blobs on that S3 server, HOLDFAST_TEST_BROKER=redis gives each deployment a Redis.
Unset, it is the embedded default: SQLite, a directory, the filesystem broker.
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.services import postgres
from tests.services.databases import copy_template, migrated_template
from tests.services.processes import Service, free_port
from tests.services.redis import running_redis
from tests.services.stores import fresh_store_url

ROOT = Path(__file__).resolve().parent.parent.parent


class Deployment:
    """Use as a context manager; everything it started is ended on exit."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self.env = (
            _clean_environment()
            | {
                "HOLDFAST_DATA": str(folder / "data"),
                "HOLDFAST_BLOBS": fresh_store_url(folder),
                "HOLDFAST_HEARTBEAT_SECONDS": "0.5",
                "HOLDFAST_LEASE_SECONDS": "3",
                "HOLDFAST_SWEEP_SECONDS": "1",
                "HOLDFAST_REFERENCE_ENGINE": "llama.cpp",  # torch takes seconds to import; test_transformers.py has it
                "HOLDFAST_WARM_KERNELS": "",  # seconds of compiling that few tests need
            }
        )
        self.env |= environment

    def __enter__(self) -> Self:
        self.env["DATABASE_URL"] = self._new_database()
        if os.environ.get("HOLDFAST_TEST_BROKER") == "redis":
            self.env["HOLDFAST_BROKER"] = self._stack.enter_context(running_redis(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _new_database(self) -> str:
        if server := os.environ.get("HOLDFAST_TEST_DATABASE_URL"):
            url = postgres.create_database(server, template=postgres.database_of(migrated_template(server)))
            self._stack.callback(postgres.drop_database, url)
            return url
        file = self.folder / "holdfast.sqlite3"
        copy_template(file)
        return f"sqlite:///{file}"

    # --- the shell -----------------------------------------------------------------------------------------

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs one manage.py command to its end. With `check`, a non-zero exit fails the test with its output."""
        done = subprocess.run(
            _manage(arguments),
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"manage.py {' '.join(arguments)} exited {done.returncode}:\n{done.stderr}")
        return done

    def manage_json(self, *arguments: str) -> Any:
        """What a command printed with --json."""
        return json.loads(self.manage(*arguments, "--json").stdout)

    # --- processes -----------------------------------------------------------------------------------------

    def start(self, *arguments: str, name: str) -> Service:
        """A long-running manage.py command, ended with the deployment."""
        service = Service(_manage(arguments), log=self.folder / f"{name}.log", env=self.env)
        self._stack.callback(service.stop)
        return service

    def start_worker(self, name: str = "worker", *, concurrency: int = 4) -> Service:
        """A worker on every queue, with the scheduler inside."""
        return self.start("worker", "--with-scheduler", "--concurrency", str(concurrency), name=name)

    def start_web(self) -> str:
        """The web server on a free port; its URL once it answers."""
        port = free_port()
        service = self.start("web", "--port", str(port), name="web")
        url = f"http://127.0.0.1:{port}"
        service.wait_until(lambda: _answers(f"{url}/health"))
        return url

    # --- waiting -------------------------------------------------------------------------------------------

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query, from the database itself: polling with commands would keep a core busy."""
        url = self.env["DATABASE_URL"]
        if url.startswith("sqlite:///"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as database:
                return database.execute(query).fetchall()
        with psycopg.connect(url) as server:
            return server.execute(query.encode()).fetchall()

    def states(self, kind: str) -> list[str]:
        """The states of the jobs of that kind, oldest first."""
        return [
            state
            for (state,) in self.ask(f"SELECT state FROM registry_job WHERE kind = '{kind}' ORDER BY id")
        ]

    def jobs(self) -> list[dict[str, Any]]:
        """What the command line says of every job."""
        return list(self.manage_json("jobs", "--all"))

    def wait_for_jobs(self, *, seconds: float = 120) -> list[dict[str, Any]]:
        """Every job once none is queued or running; when time is over, what still waits and what the logs say."""
        deadline = time.monotonic() + seconds
        while waiting := self.ask("SELECT id, kind, state FROM registry_job WHERE finished_at IS NULL"):
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"{log.name}: {log.read_text()[-2000:]}" for log in self.folder.glob("*.log")
                )
                raise AssertionError(f"not finished within {seconds:.0f} s: {waiting}\n{logs}")
            time.sleep(0.2)
        return self.jobs()


def _manage(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def _clean_environment() -> dict[str, str]:
    drop = ("HOLDFAST_", "DATABASE_URL", "DJANGO_", "PYTEST_", "HF_")
    return {name: value for name, value in os.environ.items() if not name.startswith(drop)} | {
        "PYTHONWARNINGS": "default",
        "COLUMNS": "80",
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
