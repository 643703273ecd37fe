"""What a child process gives up before it touches a foreign file. Linux only where the kernel is asked.

Each step may be refused by the kernel or by the container around us; `confine` says which were granted, and that
goes into every report. Nothing here needs root. Order matters: namespaces before any thread exists, the rest
after the engine is loaded, because its library and Python's modules must still be found.

| step | what it ends | how |
|---|---|---|
| namespace | every network interface | `unshare(CLONE_NEWNET)`, in a new user namespace unless we are root |
| rlimits | memory, CPU time, file size, open files, core dumps | `setrlimit` |
| capabilities | what root may do | `capset` to none, no new privileges |
| landlock | reading and writing files other than the artifact and the interpreter's own; TCP; signals | landlock(7) |
| seccomp | sockets, new processes, exec, tracing, namespaces | a filter on system call numbers |

RLIMIT_NPROC is not used: it counts every process and thread of a user, so that a busy desktop would make an engine
fail for no fault of the file. The filter denies new processes and allows threads.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable
from dataclasses import dataclass

MIB, GIB = 2**20, 2**30

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 4, 38, 22
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Limits:
    """What one child may use."""

    address_space_bytes: int
    cpu_seconds: int
    wall_seconds: float
    file_size_bytes: int = 1 * MIB
    n_open_files: int = 64


def start_alone() -> dict[str, str]:
    """First thing in the child, while it has one thread: dies with its parent, and has no network if granted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if platform.system() != "Linux":
        return {"network": "not isolated"}
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    spaces = _CLONE_NEWNET | _CLONE_NEWIPC
    for flags in (spaces, spaces | _CLONE_NEWUSER):
        if libc.unshare(flags) == 0:
            return {"network": "own empty namespace"}
    return {"network": "not isolated"}


def confine(limits: Limits, readable: Iterable[str], scratch: str | None = None) -> dict[str, str]:
    """The process can only read `readable`, write to `scratch` if there is one, and use no more than `limits`.

    Says what was granted.
    """
    granted = {"limits": _set_limits(limits)}
    if platform.system() != "Linux":
        return granted
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    privileged = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
    granted["capabilities"] = "none" if _drop_capabilities(libc) and not privileged else "kept"
    granted["files"] = _restrict_files(libc, readable, scratch)
    granted["system calls"] = _filter_calls(libc)
    return granted


def _set_limits(limits: Limits) -> str:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits.address_space_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_size_bytes,
        resource.RLIMIT_NOFILE: limits.n_open_files,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # At the soft limit of CPU time comes SIGXCPU, whose name is a better verdict than SIGKILL.
        grace = 5 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        resource.setrlimit(kind, (allowed, allowed + grace))
    return f"{limits.address_space_bytes // MIB} MiB, {limits.cpu_seconds} CPU seconds"


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    return bool(libc.capset(header, bytes(24)) == 0)


# --- landlock: <linux/landlock.h> -------------------------------------------------------------------------

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same number on every architecture
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_FILE_RIGHTS_SINCE_5 = (1 << 16) - 1
_TCP_BIND_AND_CONNECT, _SCOPE_SOCKETS_AND_SIGNALS = 0b11, 0b11


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[str], scratch: str | None) -> str:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return "not isolated"
    rights = _ALL_FILE_RIGHTS.get(version, _ALL_FILE_RIGHTS_SINCE_5)
    attributes = struct.pack("Q", rights)
    attributes += struct.pack("Q", _TCP_BIND_AND_CONNECT) if version >= 4 else b""
    attributes += struct.pack("Q", _SCOPE_SOCKETS_AND_SIGNALS) if version >= 6 else b""
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return "not isolated"
    for path in readable:
        _allow(libc, rules, path, _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0))  # noqa: PTH112
    if scratch:
        _allow(libc, rules, scratch, rights)
    done = libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return (
        f"landlock {version}: only the artifact and the interpreter, for reading" if done else "not isolated"
    )


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a folder that this system does not have needs no permission
    libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, descriptor), 0)
    os.close(descriptor)


# --- seccomp: <linux/seccomp.h>, <linux/filter.h> ---------------------------------------------------------

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    "x86_64": {
        "socket": 41, "connect": 42, "bind": 49, "fork": 57, "vfork": 58, "execve": 59, "ptrace": 101,
        "pivot_root": 155, "chroot": 161, "mount": 165, "unshare": 272, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "bpf": 321, "execveat": 322, "userfaultfd": 323, "io_uring_setup": 425,
    },
    "aarch64": {
        "pivot_root": 41, "mount": 40, "chroot": 51, "unshare": 97, "ptrace": 117, "socket": 198, "bind": 200,
        "connect": 203, "execve": 221, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
        "bpf": 280, "execveat": 281, "userfaultfd": 282, "io_uring_setup": 425,
    },
}  # fmt: skip
_CLONE, _CLONE3, _CLONE_THREAD = {"x86_64": 56, "aarch64": 220}, 435, 0x10000
_X32_CALLS = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def _filter_calls(libc: ctypes.CDLL) -> str:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return "not filtered"
    program = _program(machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    done = libc.prctl(_PR_SET_SECCOMP, 2, filter_, 0, 0) == 0
    return "no sockets, no processes, no exec" if done else "not filtered"


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, operand): jumps count the instructions that are skipped."""
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32_CALLS),
        (_RETURN, 0, 0, _FAIL | _EPERM),
    ]
    for number in _DENIED[machine].values():
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | _EPERM)]
    # glibc falls back from clone3, whose arguments a filter cannot see, to clone; threads stay possible.
    program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _FAIL | _ENOSYS)]
    program += [
        (_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _FAIL | _EPERM),
    ]
    return [*program, (_RETURN, 0, 0, _ALLOW)]
