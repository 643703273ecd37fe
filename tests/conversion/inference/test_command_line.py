import hashlib
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from conversion.inference import local
from tests.conversion.inference.ggufs import BASE, header_of

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments):
    command = [sys.executable, "-m", "conversion.inference", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_file_is_judged_against_its_parent(converted):
    done = run(converted("Q4_0"), "--parent", converted("F32"))
    assert done.returncode == 0, done.stderr
    assert "\nVERIFIED: says what its parent says" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\n  kjv.txt " in done.stdout
    assert done.stderr == ""


def test_json_is_the_whole_report(converted):
    done = run(converted("Q8_0"), "--json")
    assert json.loads(done.stdout)["verdict"] == "loads"


def test_a_reading_stands_for_the_parent_once_it_is_made(converted, tmp_path):
    kept = tmp_path / "parent.reading"
    first = run(converted("Q8_0"), "--parent", converted("F32"), "--reading", kept, "--json")
    second = run(converted("Q8_0"), "--parent", converted("F32"), "--reading", kept, "--json")
    first, second = json.loads(first.stdout), json.loads(second.stdout)
    assert first["verdict"] == second["verdict"] == "verified"
    assert second["figures"] == first["figures"]
    assert second["parent"]["reading"] == hashlib.sha256(kept.read_bytes()).hexdigest()
    other = run(converted("Q8_0"), "--parent", converted("BF16"), "--reading", kept)
    assert (other.returncode, "the reading of another parent" in other.stderr) == (2, True)


def test_a_reading_that_cannot_be_written_is_one_line_and_leaves_nothing(converted, tmp_path):
    limited = "ulimit -f 16; trap '' XFSZ; exec \"$@\""  # a file of more than 16 blocks is an error, as on a full disk
    command = [sys.executable, "-m", "conversion.inference", converted("Q8_0"), "--parent", converted("F32"),
               "--reading", tmp_path / "parent.reading"]  # fmt: skip
    done = subprocess.run(["bash", "-c", limited, "-", *map(str, command)], cwd=ROOT, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Nothing was judged" in done.stderr
    assert not list(tmp_path.iterdir())


def test_two_reports_are_compared(converted, tmp_path):
    (tmp_path / "before.json").write_text(run(converted("Q8_0"), "--json").stdout)
    same = run(converted("Q8_0"), "--compare", tmp_path / "before.json")
    assert same.stdout.splitlines()[-1] == "  nothing changed since that report"
    (tmp_path / "not.gguf").write_bytes(b"<html>")
    worse = json.loads(run(tmp_path / "not.gguf", "--compare", tmp_path / "before.json", "--json").stdout)
    assert {"name": "verdict", "before": "loads", "after": "damaged"} in worse["compared"]["changes"]


def test_a_parent_may_be_the_folder_of_a_checkpoint(converted, tmp_path):
    """Where torch is not installed, as our own GGUF of it, which is gone afterwards."""
    with ExitStack() as stack:
        parent = local.open_local(BASE, stack)
        assert parent.way in ("in transformers", local.OUR_GGUF)
        written = parent.written()
        assert header_of(written).get("general.architecture") == "llama"
        assert parent.digests.keys() >= {"model.safetensors", "config.json", "way"}
    assert not written.exists()


def test_a_quantised_parent_runs_as_the_numbers_it_stands_for(converted):
    """Else llama.cpp would round its activations, and the artifact would be blamed for that."""
    with ExitStack() as stack:
        reference = local.open_local(converted("Q8_0"), stack).reference(of_gguf=True)
        assert {entry.dtype for entry in header_of(reference.path).entries} == {"F32"}
        assert (reference.dtypes, reference.engine) == ({"F32"}, "llama.cpp")
        assert reference.facts["reference"].endswith(local.OUR_GGUF)
    with ExitStack() as stack:
        plain = converted("BF16")
        assert local.open_local(plain, stack).reference(of_gguf=True).path == plain


@pytest.mark.parametrize("arguments", [["--reading", "x"], ["--compare", "README.md"]])
def test_what_cannot_be_done_says_so_and_exits_with_two(converted, arguments):
    done = run(converted("Q8_0"), *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


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
