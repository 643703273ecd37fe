"""Nothing that a hostile engine tries succeeds, and everything that it tries is really tried."""

import subprocess
import sys
from pathlib import Path

import pytest

from conversion.inference import attacks
from conversion.inference.confine import NOT_ISOLATED
from conversion.inference.probe import MISCHIEF, Attempt, Outcome, Targets, outcome_lines, plan, probe

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's borders are Linux's"),
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    database = store / "database.sqlite3"
    database.write_bytes(b"SQLite format 3\0")
    database.chmod(0o644)
    return probe({"the store": store, "the database": database})


def test_nothing_succeeds(outcome):
    if outcome.missing:
        pytest.skip(f"this kernel or container does not grant: {', '.join(outcome.missing)}")
    # Without a view of its own an engine's scratch folder is on disk, where a process has no quota.
    possible = set() if "own view" in outcome.isolation["files"] else {"1 TB into its scratch folder"}
    assert {attempt.what for attempt in outcome.succeeded} <= possible
    held = not outcome.succeeded
    assert list(outcome_lines(outcome))[-1].startswith("The sandbox holds: none of ") == held


def test_every_attempt_is_made_and_says_what_refused_it(outcome):
    targets = Targets("", "", "", "", "", "", "")
    wanted = sum(map(len, plan(targets, {"the store": ROOT, "the database": ROOT}).values())) + len(MISCHIEF)
    assert len(outcome.attempts) == wanted + 3
    assert all(attempt.how for attempt in outcome.attempts)
    assert not [attempt for attempt in outcome.attempts if "did not survive" in attempt.how]


def test_every_attack_is_in_the_plan():
    tried = {name for group in plan(Targets(*[""] * 7), {}).values() for name, _ in group.values()}
    tried |= {name for name, _ in MISCHIEF.values()}
    assert tried == set(attacks.ATTEMPTS)


def test_the_same_attacks_succeed_without_the_sandbox(tmp_path):
    """Otherwise the probe would prove nothing: its weapons are sharp."""
    (tmp_path / "artifact").write_bytes(b"GGUF")
    (tmp_path / "secret").write_bytes(b"secret")
    code = (
        "import json, os, sys; from conversion.inference.attacks import Attacker; attacker = Attacker()\n"
        "os.environ['TMPDIR'] = sys.argv[1]; os.environ['TOKEN'] = 'secret'\n"
        "at = lambda name: os.path.join(sys.argv[1], name)\n"
        "tries = [('environment', ''), ('read', at('secret')), ('read_through_link', at('secret')),\n"
        "    ('link_into_scratch', at('secret')), ('read_above', at('secret')), ('write', at('artifact')),\n"
        "    ('make_writable', at('artifact')), ('create', at('.')), ('fork', ''), ('spawn', sys.executable),\n"
        "    ('start_threads', ''), ('send_signal', str(os.getppid())), ('limit_other', str(os.getpid())),\n"
        "    ('listen', '127.0.0.1'), ('open_process', str(os.getppid())), ('truncate', at('artifact')),\n"
        "    ('rename', at('artifact')), ('remove', at('artifact-renamed')), ('read', '/etc/passwd')]\n"
        "print([name for name, target in tries if 'got' not in attacker.attempt(name, target)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_succeeds_and_what_is_missing_is_said_loudly():
    isolation = {"network": NOT_ISOLATED, "system calls": "not filtered", "limits": "512 MiB"}
    lines = list(outcome_lines(Outcome(isolation, [Attempt("network", "a datagram", True, "sent 6 bytes")])))
    assert any(line.startswith("  NOT GRANTED HERE: network. What still stands: landlock") for line in lines)
    assert any(line.split()[0] == "SUCCEEDED" for line in lines)
    assert lines[-1] == "THE SANDBOX DOES NOT HOLD: 1 of 1 attempts succeeded: a datagram"
