"""Seeing what it was not given: files, descriptors, the environment."""

import ctypes
import os
import struct
from contextlib import suppress
from pathlib import Path

from conversion.inference.attacks.common import Nothing
from conversion.inference.libc import LIBC, check

OWN_VARIABLES = frozenset({
    "LC_CTYPE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "HF_HUB_OFFLINE", "GGML_NO_BACKTRACE",
    "TMPDIR", "HOME",
})  # fmt: skip
OWN_DESCRIPTORS = 6
"""Standard input, output and error, the two pipes, the shared memory."""


def read(path: str) -> str:
    place = Path(path)
    found = [one.name for one in place.iterdir()] if place.is_dir() else place.open("rb").read(40)
    return f"read {found[:3]!r}"


def read_through_link(path: str) -> str:
    link = Path(os.environ["TMPDIR"], "link")
    link.symlink_to(path)
    return read(str(link))


def link_into_scratch(path: str) -> str:
    link = Path(os.environ["TMPDIR"], "hard")
    link.hardlink_to(path)
    return read(str(link))


def read_above(path: str) -> str:
    return read("/" + "../" * 40 + path.lstrip("/"))


def open_by_handle(path: str) -> str:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    number = ctypes.c_int()
    check(LIBC.name_to_handle_at(-100, path.encode(), handle, ctypes.byref(number), 0))
    return "a handle that needs no path"


def other_descriptors(_: str) -> str:
    found = []
    for number in range(64):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    if len(found) <= OWN_DESCRIPTORS:
        raise Nothing("only its own pipes")
    return f"holds {len(found)} descriptors"


def environment(_: str) -> str:
    found = set(os.environ) - OWN_VARIABLES
    if not found:
        raise Nothing("it is empty")
    return ", ".join(sorted(found))
