"""What a child process gives up before it touches a foreign file. Linux only where the kernel is asked.

Each step may be refused by the kernel or by the container around us; `confine` says which were granted, and that
goes into every report. Nothing here needs root. Order matters: namespaces before any thread exists, the rest
after the engine is loaded, because its library and Python's modules must still be found.

| step | what it ends | how |
|---|---|---|
| namespaces | networks, shared memory, the machine's mounts | `unshare`, in a user namespace unless root |
| view | every path but the artifact and the interpreter's own; writing | view.py: a root of its own |
| user | the files, processes and signals that only our user may have | an identity nobody else has, where we are root |
| rlimits | memory, CPU time, threads, file size, open files, core dumps | `setrlimit` |
| capabilities | what root may do | `capset` to none, no new privileges |
| landlock | the same paths once more; TCP; signals | landlock.py |
| filter | sockets, processes, exec, tracing, signals, mounts, memory that nobody counts | seccomp.py |

RLIMIT_NPROC counts every process and thread of a user. It is used only where the user, or its user namespace, is the
child's own: elsewhere a busy desktop would make an engine fail for no fault of the file. The filter denies new
processes anyway, and threads end where their stacks fill the address space.

Landlock and capabilities are of a thread, and of those that it starts: the one that is to open the file. Threads that
an engine started while it was imported (onnxruntime has one) are held by view, user, limits and filter.
"""

import os
import platform
import re
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conversion.inference import landlock, seccomp, view
from conversion.inference.libc import LIBC

MIB, GIB = 2**20, 2**30
FIRST_UID = 0x7000_0000
"""From here on identities belong to nobody: 0x70000000 to 0x7FFFFFFE in systemd's table of UIDs and GIDs."""

NOT_ISOLATED = "not isolated"
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC, _CLONE_NEWNS = 0x10000000, 0x40000000, 0x08000000, 0x00020000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Limits:
    """What one child may use."""

    address_space_bytes: int
    cpu_seconds: int
    wall_seconds: float
    file_size_bytes: int = 1 * MIB
    n_open_files: int = 64
    n_threads: int = 64


@dataclass(frozen=True)
class Spaces:
    """The namespaces of its own that this process has. `user`: it may also say what it likes in them."""

    network: bool = False
    mounts: bool = False
    user: bool = False


def start_alone() -> Spaces:
    """First thing in the child, while it has one thread: it dies with its parent, and is the first that the kernel
    kills when memory ends. Has its own namespaces, as many as are granted.
    """
    if sys.platform != "linux":
        return Spaces()
    _die_with_parent()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    network = _CLONE_NEWNET | _CLONE_NEWIPC
    for kinds in (network | _CLONE_NEWNS, network):
        for user in (0, _CLONE_NEWUSER):
            identity = os.getuid(), os.getgid()
            if LIBC.unshare(kinds | user) == 0:
                mapped = not user or _keep_identity(*identity)
                return Spaces(network=True, mounts=bool(kinds & _CLONE_NEWNS) and mapped, user=bool(user))
    return Spaces()


def _die_with_parent() -> None:
    LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _keep_identity(uid: int, gid: int) -> bool:
    """True: the new user namespace knows us by the same numbers, so that we may own files in our own root."""
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError:
        return False
    return True


def confine(
    spaces: Spaces,
    limits: Limits,
    artifact: Sequence[str],
    readable: Sequence[str],
    scratch: str = "",
) -> dict[str, str]:
    """The process can only read `artifact` and `readable`, write to `scratch` if there is one, within `limits`.

    Says what was granted.
    """
    if sys.platform != "linux":
        return {"network": NOT_ISOLATED, "limits": _set_limits(limits, None)}
    readable = [path for path in readable if Path(path).exists()]
    own_view = spaces.mounts and view.enter_view(artifact, readable, scratch)
    uid = _become_nobody([*artifact, *readable])
    n_threads = limits.n_threads if uid or _counts_its_own_threads(spaces) else None
    limited = _set_limits(limits, n_threads)
    _die_with_parent()  # a change of identity makes the kernel forget it
    LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    privileged = LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
    capabilities = "kept" if privileged or not _drop_capabilities() else "none"
    return {
        "network": "own empty namespace" if spaces.network else NOT_ISOLATED,
        "user": _user(uid, spaces),
        "limits": limited,
        "capabilities": capabilities,
        "files": _files(own_view, landlock.restrict_files([*artifact, *readable], scratch)),
        "system calls": seccomp.GRANTED if seccomp.filter_calls() else "not filtered",
    }


def _user(uid: int, spaces: Spaces) -> str:
    if uid:
        return "an identity of its own, nobody else's"  # no number: the same file has the same report
    return f"{os.geteuid()}, the worker's" + (", in a user namespace" if spaces.user else "")


def _files(own_view: bool, landlock_version: int) -> str:
    walls = ["own view"] * own_view + [f"landlock {landlock_version}"] * (landlock_version > 0)
    return (
        f"{' and '.join(walls)}: only the artifact and the interpreter, for reading"
        if walls
        else NOT_ISOLATED
    )


def _become_nobody(paths: Sequence[str]) -> int:
    """The user id that this process now has, and no other process; 0: it may not, or could not read `paths`."""
    if os.geteuid() != 0:
        return 0
    uid = FIRST_UID + os.getpid()
    try:
        os.setgroups([])
        os.setegid(uid)
        os.seteuid(uid)
        if not all(map(_can_read, paths)):
            return 0
        os.seteuid(0)
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError:
        return 0
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
            os.setegid(0)
    return uid


def _can_read(path: str) -> bool:
    """Whether the identity of the moment may open it: of a folder, also every file right in it."""
    place = Path(path)
    try:
        inside = [str(file) for file in place.iterdir() if file.is_file()] if place.is_dir() else []
    except OSError:
        return False
    return all(os.access(file, os.R_OK, effective_ids=True) for file in (path, *inside))


def _counts_its_own_threads(spaces: Spaces) -> bool:
    """Since 5.14 the kernel counts the threads of a user in each user namespace apart."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return spaces.user and found is not None and (int(found[1]), int(found[2])) >= (5, 14)


def _set_limits(limits: Limits, n_threads: int | None) -> str:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits.address_space_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_size_bytes,
        resource.RLIMIT_NOFILE: limits.n_open_files,
    } | ({} if n_threads is None else {resource.RLIMIT_NPROC: n_threads})
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # At the soft limit of CPU time comes SIGXCPU, whose name is a better verdict than SIGKILL.
        grace = 5 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        resource.setrlimit(kind, (allowed, allowed + grace))
    threads = "" if n_threads is None else f", {n_threads} threads"
    return f"{limits.address_space_bytes // MIB} MiB, {limits.cpu_seconds} CPU seconds{threads}"


def _drop_capabilities() -> bool:
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    return bool(LIBC.capset(header, bytes(24)) == 0)
