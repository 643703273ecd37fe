"""Getting more rights, or a larger part of the kernel to attack."""

import ctypes
import os

from conversion.inference.libc import LIBC, check


def become_root(_: str) -> str:
    os.setresuid(0, 0, 0)
    if os.getuid() == 0:
        os.chown("/", 0, 0)
    return "is root"


def new_namespaces(_: str) -> str:
    check(LIBC.unshare(0x10000000))
    return "a user namespace, in which it is root"


def mount(folder: str) -> str:
    folder = folder or os.environ["TMPDIR"]
    check(LIBC.mount(b"proc", folder.encode(), b"proc", 0, None))
    return "mounted /proc"


def change_root(folder: str) -> str:
    os.chroot(folder or os.environ["TMPDIR"])
    return "another root"


def system_call(numbers: str) -> str:
    """`numbers`: that of the call on x86_64 and on aarch64, then its arguments."""
    x86, arm, *arguments = map(int, numbers.split())
    buffer = ctypes.create_string_buffer(256)
    given = [buffer if value == -1 else ctypes.c_long(value) for value in arguments]
    check(LIBC.syscall(x86 if os.uname().machine == "x86_64" else arm, *given))
    return "done"
