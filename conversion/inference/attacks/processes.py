"""Becoming many, and touching the processes of others."""

import ctypes
import os
import resource
import signal
import struct
import threading

from conversion.inference.libc import LIBC, check


def fork(_: str) -> str:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a new process"


def spawn(path: str) -> str:
    pid = os.posix_spawn(path, [path], {})
    os.waitpid(pid, 0)
    return "a new process"


def execute(path: str) -> str:
    os.execv(path, [path])


def start_threads(_: str) -> str:
    threading.stack_size(2**16)
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(2_000)]
    try:
        for thread in threads:
            thread.start()
    finally:
        end.set()
    return f"{len(threads):,} threads"


def send_signal(pid: str) -> str:
    os.kill(int(pid), signal.SIGCONT)
    return "a signal was delivered"


def kill(pid: str) -> str:
    os.kill(int(pid), signal.SIGKILL)
    return "killed"


def open_process(pid: str) -> str:
    os.pidfd_open(int(pid))
    return "a descriptor of another process"


def trace(pid: str) -> str:
    check(LIBC.ptrace(0x4206, int(pid), 0, 0))  # PTRACE_SEIZE, which stops nobody
    return "traces another process"


def read_memory(pid: str) -> str:
    vector = ctypes.create_string_buffer(struct.pack("QQ", 0, 0))
    check(LIBC.process_vm_readv(int(pid), vector, 1, vector, 1, 0))
    return "reads another process"


def limit_other(pid: str) -> str:
    return f"its limits are {resource.prlimit(int(pid), resource.RLIMIT_NOFILE)}"


def lift_limits(_: str) -> str:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "no limit of memory"
