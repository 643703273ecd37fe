import gc
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conversion.inference.engine import EngineError
from conversion.inference.provisions import limits_for, needed_files, size_of
from conversion.inference.sandbox import Sandbox
from tests.conversion.inference.ggufs import BASE, with_metadata

ROOT = Path(__file__).resolve().parents[3]


def ask_for_long(model):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        list(model.logits([1] * 500))


def open_files():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def is_running(pid):
    """Whether the process lives; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_pieces_of_logits_are_all_positions_in_order(converted):
    ids = [1, *range(5, 205)]
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        (whole,) = model.logits(ids)
        assert whole.shape == (201, 1024)
        (tail,) = model.logits(ids, first=150)
        np.testing.assert_array_equal(tail, whole[150:])
    with Sandbox("llama.cpp", converted("Q8_0"), shared_bytes=8 * 1024 * 4) as model:
        pieces = list(model.logits(ids))
    assert [len(piece) for piece in pieces] == [8] * 25 + [1]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_the_same_question_has_the_same_answer_to_the_last_bit(converted):
    ids = [1, 354, 333, 610, 285, 750]
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        (first,) = model.logits(ids)
        (again,) = model.logits(ids)
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        (elsewhere,) = model.logits(ids)
    assert first.tobytes() == again.tobytes() == elsewhere.tobytes()


def test_extending_continues_the_text(converted):
    with Sandbox("llama.cpp", converted("F32")) as model:
        (whole,) = model.logits([1, 354, 333, 610], first=3)
        list(model.logits([1, 354, 333]))
        (step,) = model.logits([610], extend=True)
    np.testing.assert_allclose(step, whole, atol=0.02)


def test_ids_outside_the_vocabulary_or_the_window_are_refused(converted):
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        for ids in ([1, 1024], [-1], [1] * 513):
            with pytest.raises(EngineError) as caught:
                list(model.logits(ids))
            assert caught.value.code == "decode-failed"
        assert model.tokenize("still alive", special=False)


def test_a_crash_is_an_error_with_the_name_of_the_signal(converted, tmp_path):
    hostile = with_metadata(converted("Q8_0"), tmp_path / "hostile.gguf", "llama.block_count", 0)
    with pytest.raises(EngineError, match=r"the engine crashed: SIGABRT. .*GGML_ASSERT") as caught:
        Sandbox("llama.cpp", hostile)
    assert caught.value.code == "engine-crashed"
    assert caught.value.facts["signal"] == "SIGABRT"


def test_a_child_that_does_not_answer_in_time_is_killed(converted):
    path = converted("Q8_0")
    with Sandbox(
        "llama.cpp", path, limits=replace(limits_for(path.stat().st_size), wall_seconds=0.2)
    ) as model:
        pid = model._process.pid
        with pytest.raises(EngineError, match="did not answer in time") as caught:
            ask_for_long(model)
    assert caught.value.code == "engine-timeout"
    assert caught.value.says_nothing_of_the_file
    assert not is_running(pid)


def test_a_file_that_needs_more_memory_than_allowed_says_nothing_of_the_file(converted):
    path = converted("Q8_0")
    little = replace(limits_for(path.stat().st_size), address_space_bytes=50 * 2**20)
    with pytest.raises(EngineError) as caught:
        Sandbox("llama.cpp", path, limits=little)
    assert caught.value.code in ("engine-out-of-memory", "engine-crashed")


def test_nothing_is_left_of_a_sandbox(converted):
    before = open_files()
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        pid = model._process.pid
        assert is_running(pid)
    assert not is_running(pid)
    model.close()
    del model
    assert open_files() == before


def test_the_child_dies_with_the_worker(converted):
    code = (
        "import sys, time; from pathlib import Path; from conversion.inference.sandbox import Sandbox\n"
        "with Sandbox('llama.cpp', Path(sys.argv[1])) as model: print(model._process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(converted("Q8_0"))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        child = int(worker.stdout.readline())
        assert is_running(child)
        worker.kill()
    end = time.monotonic() + 20
    while is_running(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_running(child)


def test_the_child_inherits_no_environment(converted, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        environment = Path(f"/proc/{model._process.pid}/environ")
        with suppress(PermissionError):  # the child is not dumpable: nobody but root can even look
            assert b"secret" not in environment.read_bytes()


def test_the_isolation_that_was_granted_is_told(converted):
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        assert model.isolation.keys() == {
            "network",
            "user",
            "limits",
            "capabilities",
            "files",
            "system calls",
        }


def test_a_child_is_given_all_shards_and_what_links_point_to_and_nothing_beside_them(tmp_path):
    (tmp_path / "blobs").mkdir()
    names = ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf", "other-00001-of-00002.gguf", "secret"]
    for name in names:
        (tmp_path / name).write_bytes(b"12345")
    first, second = tmp_path / names[0], tmp_path / names[1]
    assert needed_files(first) == [first, second]
    assert size_of(first) == 10
    blob, folder = tmp_path / "blobs" / "abc", tmp_path / "checkpoint"
    blob.write_bytes(b"123")
    folder.mkdir()
    (folder / "model.safetensors").symlink_to("../blobs/abc")
    assert needed_files(folder) == [folder, blob]
    assert size_of(folder) == 3


def test_a_checkpoint_of_links_is_read_through_its_own_view(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs" / "abc").write_bytes((BASE / "tokenizer.model").read_bytes())
    (tmp_path / "snapshot" / "tokenizer.model").symlink_to("../blobs/abc")
    with Sandbox("probe", tmp_path / "snapshot") as child:
        assert "got" in child.attempt("read", str(tmp_path / "snapshot" / "tokenizer.model"))
        assert "refused" in child.attempt("read", str(tmp_path / "blobs"))
