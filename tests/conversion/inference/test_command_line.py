import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments):
    command = [sys.executable, "-m", "conversion.inference", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_file_is_judged_against_its_parent(converted):
    done = run(converted("Q4_0"), "--parent", converted("F32"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("VERIFIED: says what its parent says")
    assert done.stderr == ""


def test_json_is_the_whole_report(converted):
    done = run(converted("Q8_0"), "--json")
    assert json.loads(done.stdout)["verdict"] == "loads"


def test_a_damaged_file_exits_with_one(tmp_path):
    (tmp_path / "not.gguf").write_bytes(b"<html>")
    done = run(tmp_path / "not.gguf")
    assert done.returncode == 1
    assert "DAMAGED: not a sound GGUF file" in done.stdout


def test_a_file_can_say_something(converted):
    done = run(converted("Q8_0"), "--prompt", "And God said", "--tokens", 4)
    assert done.stdout.startswith("And God said")
    assert run(converted("Q8_0"), "--prompt", "And God said", "--tokens", 4).stdout == done.stdout


@pytest.mark.parametrize("arguments", [["/nowhere.gguf"], []])
def test_wrong_use_exits_with_two(arguments):
    assert run(*arguments).returncode == 2
