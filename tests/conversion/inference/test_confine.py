"""What a confined process tries, and that nothing of it succeeds. A real process; it reports as JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's borders are Linux's")

PROBE = """
import ctypes, json, os, resource, signal, socket, subprocess, sys
sys.path.insert(0, {root!r})
from conversion.inference.child import readable_folders
from conversion.inference.confine import Limits, confine, start_alone
granted = start_alone()
granted |= confine(Limits(2**31, 20, 60.0), [{allowed!r}, *readable_folders()])
def tried(action):
    try:
        return repr(action())
    except (OSError, MemoryError, subprocess.SubprocessError) as error:
        return type(error).__name__
def write(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
def fork():
    pid = os.fork()
    os._exit(0) if pid == 0 else os.waitpid(pid, 0)
    return "forked"
def thread():
    import threading
    ran = []
    one = threading.Thread(target=lambda: ran.append(1)); one.start(); one.join()
    return ran
print(json.dumps({{
    "granted": granted,
    "allowed": tried(lambda: open({allowed!r}).read()),
    "secret": tried(lambda: open({secret!r}).read()),
    "passwd": tried(lambda: open("/etc/passwd").read()),
    "write": tried(lambda: write({target!r}, 10)),
    "large write": tried(lambda: write({target!r}, 2**40)),
    "fork": tried(fork),
    "exec": tried(lambda: subprocess.run(["/bin/true"])),
    "tcp": tried(lambda: socket.create_connection(("127.0.0.1", {port}), 2)),
    "udp": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "kill": tried(lambda: os.kill({parent}, 0)),
    "memory": tried(lambda: len(bytearray(2**32))),
    "thread": tried(thread),
    "environment": sorted(os.environ),
}}))
"""


@pytest.fixture
def probe(tmp_path):
    import os
    import socket

    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.write_text("weights")
    secret.write_text("token")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = PROBE.format(
            root=str(ROOT), allowed=str(allowed), secret=str(secret), target=str(tmp_path / "out"),
            port=server.getsockname()[1], parent=os.getpid(),
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], env={}, capture_output=True, text=True, check=True
        )
    assert not (tmp_path / "out").exists()
    return json.loads(done.stdout)


def test_a_confined_process_reads_its_file_and_may_use_threads(probe):
    assert probe["allowed"] == "'weights'"
    assert probe["thread"] == "[1]"


def test_a_confined_process_starts_no_other(probe):
    if probe["granted"]["system calls"] == "not filtered":
        pytest.skip("this kernel or container grants no system call filter")
    assert probe["fork"] == probe["exec"] == "PermissionError"


def test_a_confined_process_reaches_no_network(probe):
    granted = probe["granted"]
    if granted["network"] == "not isolated" and granted["system calls"] == "not filtered":
        pytest.skip("this kernel or container grants neither a namespace nor a filter")
    assert probe["tcp"].endswith("Error")
    assert probe["udp"].endswith("Error") or granted["system calls"] == "not filtered"


def test_a_confined_process_sees_no_other_file(probe):
    if probe["granted"]["files"] == "not isolated":
        pytest.skip("this kernel has no landlock")
    assert probe["secret"] == probe["passwd"] == probe["write"] == probe["large write"] == "PermissionError"


def test_a_confined_process_signals_nobody(probe):
    if "landlock" not in probe["granted"]["files"] or int(probe["granted"]["files"].split()[1][:-1]) < 6:
        pytest.skip("this kernel's landlock does not scope signals")
    assert probe["kill"] == "PermissionError"


def test_a_confined_process_has_little_memory_and_no_environment(probe):
    assert probe["memory"] == "MemoryError"
    assert probe["environment"] in ([], ["LC_CTYPE"])
