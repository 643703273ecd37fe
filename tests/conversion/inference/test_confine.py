"""What is granted where less is granted, and what the walls are made of."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conversion.inference import seccomp
from conversion.inference.confine import FIRST_UID

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's borders are Linux's"),
]

CONFINED = """
import json, os, sys, threading
sys.path.insert(0, {root!r})
from conversion.inference.child import readable_paths
from conversion.inference.confine import Limits, confine, start_alone
{before}
granted = confine(start_alone(), Limits(2**31, 20, 60.0), [{allowed!r}], readable_paths())
def tried(action):
    try:
        return repr(action())
    except OSError as error:
        return type(error).__name__
def thread():
    ran = []
    one = threading.Thread(target=lambda: ran.append(1)); one.start(); one.join()
    return ran
print(json.dumps({{
    "granted": granted, "uid": os.getuid(),
    "allowed": tried(lambda: open({allowed!r}).read()), "secret": tried(lambda: open({secret!r}).read()),
    "fork": tried(os.fork), "thread": tried(thread), "import": tried(lambda: __import__("wave").__name__),
}}))
"""
AS_SOMEBODY = """
from conversion.inference.libc import LIBC
os.setgroups([]); os.setresgid(12345, 12345, 12345); os.setresuid(12345, 12345, 12345)
LIBC.prctl(4, 1, 0, 0, 0)  # dumpable, as a program is that this user started
"""
DENYING = """
from conversion.inference.libc import LIBC
from conversion.inference.seccomp import install
LIBC.prctl(38, 1, 0, 0, 0)
program = [(0x20, 0, 0, 0)]
for number in {numbers}:
    program += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
assert install([*program, (0x06, 0, 0, 0x7FFF0000)])
"""
UNSHARE, LANDLOCK = {"x86_64": 272, "aarch64": 97}.get(os.uname().machine, 0), 444


def confined(folder, before, python=sys.executable):
    allowed, secret = folder / "allowed", folder / "secret"
    for file in (allowed, secret):
        file.write_text(file.name)
        file.chmod(0o644)
    code = CONFINED.format(root=str(ROOT), allowed=str(allowed), secret=str(secret), before=before)
    done = subprocess.run([python, "-I", "-c", code], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_confined_process_reads_its_file_imports_and_has_threads_and_nothing_else(tmp_path):
    found = confined(tmp_path, "")
    assert found["allowed"] == "'allowed'"
    assert found["thread"] == "[1]"
    assert found["import"] == "'wave'"
    assert found["secret"].endswith("Error")
    assert found["fork"] == "PermissionError"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_where_we_are_root_the_child_is_a_user_that_nobody_else_is(tmp_path):
    found = confined(tmp_path, "")
    if found["granted"]["files"].startswith("own view"):
        assert found["uid"] >= FIRST_UID
        assert found["granted"]["user"] == "an identity of its own, nobody else's"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_without_privileges_a_user_namespace_grants_the_same_view():
    python = Path("/usr/bin/python3")  # what runs us may lie in root's own folder
    if not python.exists() or not all(folder.stat().st_mode & 0o1 for folder in ROOT.parents):
        pytest.skip("every user can start no Python here, or not look into our folder")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for root alone
        Path(name).chmod(0o755)
        found = confined(Path(name), AS_SOMEBODY, str(python))
    if not found["granted"]["files"].startswith("own view"):
        pytest.skip("this kernel or container grants ordinary users no mount namespace")
    assert found["granted"]["network"] == "own empty namespace"
    assert found["granted"]["user"] == "12345, the worker's, in a user namespace"
    assert (found["allowed"], found["secret"]) == ("'allowed'", "FileNotFoundError")
    assert (found["fork"], found["thread"]) == ("PermissionError", "[1]")


def test_without_namespaces_landlock_and_the_filter_stand_and_the_report_says_so(tmp_path):
    found = confined(tmp_path, DENYING.format(numbers=[UNSHARE]))
    assert found["granted"]["network"] == "not isolated"
    assert found["granted"]["files"].startswith("landlock")
    assert (found["allowed"], found["secret"], found["fork"]) == (
        "'allowed'",
        "PermissionError",
        "PermissionError",
    )


def test_without_a_view_and_landlock_the_report_says_that_files_are_open(tmp_path):
    found = confined(tmp_path, DENYING.format(numbers=[UNSHARE, LANDLOCK]))
    assert found["granted"]["files"] == "not isolated"
    assert found["allowed"] == "'allowed'"
    assert found["fork"] == "PermissionError"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_jumps_to_instructions_that_exist_and_ends_by_allowing(machine):
    program = seccomp.program_for(machine, 1234)
    for at, (code, when_true, when_false, _) in enumerate(program):
        assert code == 0x06 or at + 1 + max(when_true, when_false) < len(program)
    assert program[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert len(program) < 4096
