"""What an operator can mend is said in a sentence, never with a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "DATABASE_"))
    }
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments], env=kept | environment, cwd=ROOT,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_database_without_tables_is_answered_with_the_command_that_makes_them(tmp_path: Path) -> None:
    done = manage("jobs", HOLDFAST_DATA=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("database-unavailable: ")
    assert "no such table" in done.stderr
    assert "manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_out_of_reach_is_said_in_a_sentence(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    done = manage("jobs", HOLDFAST_DATA=str(tmp_path), DATABASE_URL=url)
    assert done.returncode == 1
    assert "\ndatabase-unavailable: " in done.stderr  # below a warning about brokers
    assert "Traceback" not in done.stderr


def test_a_traceback_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    assert "Traceback" in manage("jobs", "--traceback", HOLDFAST_DATA=str(tmp_path)).stderr


@pytest.mark.parametrize("value", ["abc", "-1", "nan"])
def test_a_bad_setting_is_named_with_what_it_accepts(tmp_path: Path, value: str) -> None:
    done = manage("jobs", HOLDFAST_DATA=str(tmp_path), HOLDFAST_LEASE_SECONDS=value)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"bad-setting: HOLDFAST_LEASE_SECONDS='{value}' is not usable: it must be a number"
    )
    assert "Traceback" not in done.stderr


def test_a_command_that_is_interrupted_twice_ends_without_a_traceback(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; sys.path.insert(0, '.'); import manage, django.core.management as m;"
        f"m.execute_from_command_line = lambda argv: os.kill(os.getpid(), {signal.SIGINT:d}); manage.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | {"HOLDFAST_DATA": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
