"""The ids git itself would give: of a file, of an LFS pointer, of a folder tree and of a commit.

A repo mirrored from a hub keeps upstream's ids; a commit made here gets the id computed by these functions,
so that anybody can verify it with `git` and a later `git clone` can serve it. Pure: knows no Django.

Formats (Git internals, "Git Objects"; git-lfs `docs/spec.md`), matched bit for bit:

    object   sha1("<kind> <size>\\0" + body)
    tree     body = for each entry "<mode> <name>\\0" + the 20 raw bytes of its oid,
             sorted by name as if folder names ended in "/"
    commit   body = "tree <hex>\\n" ("parent <hex>\\n")* "author …\\n" "committer …\\n" "\\n" + message
    pointer  "version https://git-lfs.github.com/spec/v1\\noid sha256:<hex>\\nsize <decimal>\\n"
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

LFS_POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"
LFS_POINTER_MAX_BYTES = 1024  # git-lfs itself never reads a longer file as a pointer
FILE_MODE, FOLDER_MODE = "100644", "40000"


@dataclass(frozen=True, slots=True)
class Signature:
    """Who made a commit and when, as git writes it. `when` must be aware; its UTC offset is kept."""

    name: str
    email: str
    when: datetime

    def __str__(self) -> str:
        minutes = int((self.when.utcoffset() or UTC.utcoffset(None)).total_seconds()) // 60
        sign = "-" if minutes < 0 else "+"
        hours, minutes = divmod(abs(minutes), 60)
        return f"{self.name} <{self.email}> {int(self.when.timestamp())} {sign}{hours:02}{minutes:02}"


def start_git_hash(kind: str, size_bytes: int) -> "_Hash":
    """A sha1 that has seen git's object header; feed it exactly `size_bytes` and its hexdigest is the oid."""
    return hashlib.sha1(f"{kind} {size_bytes}\0".encode(), usedforsecurity=False)


def _oid(kind: str, body: bytes) -> str:
    digest = start_git_hash(kind, len(body))
    digest.update(body)
    return digest.hexdigest()


def git_blob_oid(data: bytes) -> str:
    """The oid of a file with this content. For a file too large for memory use `start_git_hash`."""
    return _oid("blob", data)


def lfs_pointer(sha256: str, size_bytes: int) -> bytes:
    """The text git keeps in place of an LFS object."""
    return LFS_POINTER_START + f"oid sha256:{sha256}\nsize {size_bytes}\n".encode("ascii")


def lfs_pointer_oid(sha256: str, size_bytes: int) -> str:
    """The oid that a listing shows for an LFS file: that of its pointer, not of its bytes."""
    return git_blob_oid(lfs_pointer(sha256, size_bytes))


def is_lfs_pointer(data: bytes) -> bool:
    """True if these bytes (a whole file or its beginning) are an LFS pointer rather than content."""
    return data.startswith(LFS_POINTER_START)


def folder_oids(files: Mapping[str, str]) -> dict[str, str]:
    """The tree oid of every folder of {path: file oid}; "" is the root. Paths use "/" and are relative."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, oid in files.items():
        folder, _, name = path.rpartition("/")
        _reach(children, folder)[name] = (FILE_MODE, oid)
    oids: dict[str, str] = {}
    for folder in sorted(children, key=lambda name: name.count("/") if name else -1, reverse=True):
        oids[folder] = _tree_oid(children[folder])
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = (FOLDER_MODE, oids[folder])
    return oids


def _reach(children: dict[str, dict[str, tuple[str, str]]], folder: str) -> dict[str, tuple[str, str]]:
    """The entries of `folder`, which exists afterwards together with all folders above it."""
    missing = folder
    while missing and missing not in children:
        children[missing] = {}
        missing = missing.rpartition("/")[0]
    return children[folder]


def _tree_oid(entries: Mapping[str, tuple[str, str]]) -> str:
    def order(item: tuple[str, tuple[str, str]]) -> bytes:
        name, (mode, _) = item
        return name.encode() + (b"/" if mode == FOLDER_MODE else b"")

    body = b"".join(
        f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid)
        for name, (mode, oid) in sorted(entries.items(), key=order)
    )
    return _oid("tree", body)


def tree_oid(files: Mapping[str, str]) -> str:
    """The oid of the root tree that holds {path: file oid}; the empty mapping gives git's empty tree."""
    return folder_oids(files)[""]


def commit_oid(tree: str, *, parents: Iterable[str] = (), author: Signature, message: str) -> str:
    """The commit id for this tree, history and message; committer is author, a final newline is added."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {author}", f"committer {author}", "", message.rstrip("\n") + "\n"]
    return _oid("commit", "\n".join(lines).encode())
