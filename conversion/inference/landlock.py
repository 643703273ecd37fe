"""Landlock (landlock(7), <linux/landlock.h>): paths that may be read, none that may be written, no TCP, no signals.

A second wall behind the private view of view.py, and the only one for files where nobody may mount. Needs no
privilege; what it takes away never comes back.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from conversion.inference.libc import LIBC

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same number on every architecture
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_FILE_RIGHTS_SINCE_5 = (1 << 16) - 1
_TCP_BIND_AND_CONNECT, _SCOPE_SOCKETS_AND_SIGNALS = 0b11, 0b11


def restrict_files(readable: Iterable[str], scratch: str) -> int:
    """The version of landlock that now lets this thread read `readable` and change only `scratch`; 0: not granted."""
    version = int(LIBC.syscall(_CREATE, None, ctypes.c_size_t(0), 1))
    if version < 1:
        return 0
    rights = _ALL_FILE_RIGHTS.get(version, _ALL_FILE_RIGHTS_SINCE_5)
    attributes = struct.pack("Q", rights)
    attributes += struct.pack("Q", _TCP_BIND_AND_CONNECT) if version >= 4 else b""
    attributes += struct.pack("Q", _SCOPE_SOCKETS_AND_SIGNALS) if version >= 6 else b""
    rules = LIBC.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return 0
    for path in readable:
        _allow(rules, path, _READ_FILE | (_READ_FOLDER if Path(path).is_dir() else 0))
    if scratch:
        _allow(rules, scratch, rights)
    done = LIBC.syscall(_RESTRICT, rules, 0) == 0
    os.close(rules)
    return version if done else 0


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a folder that this system does not have needs no permission
    LIBC.syscall(_ADD, rules, 1, struct.pack("=Qi", rights, descriptor), 0)
    os.close(descriptor)
