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
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

LFS_POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"
LFS_POINTER_MAX_BYTES = 1024  # git-lfs itself never reads a longer file as a pointer
FILE_MODE, FOLDER_MODE = "100644", "40000"
_HEX = re.compile(rb"[0-9a-f]{40}")
_WHEN = re.compile(rb"> (\d{1,18}) [+-]\d{4}$")


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


@dataclass(frozen=True, slots=True)
class Tree:
    """One folder as git keeps it; that of the root is ""."""

    folder: str
    oid: str
    body: bytes


def trees(files: Iterable[tuple[str, str]]) -> Iterator[Tree]:
    """Every folder of these (path, file oid) pairs; the root comes last, any other before the folder it is in.

    The pairs must come in the order of their paths' UTF-8 bytes. Then the files of a folder are neighbours, and the
    entries of every folder come in git's own order, so memory holds only the folders from the root to one file.
    """
    opened: list[tuple[str, bytearray]] = [("", bytearray())]
    for path, oid in files:
        folder, _, name = path.rpartition("/")
        while not f"{folder}/".startswith(f"{opened[-1][0]}/" if opened[-1][0] else ""):
            yield _close(opened)
        while opened[-1][0] != folder:
            opened.append((_child(opened[-1][0], folder), bytearray()))
        opened[-1][1].extend(_entry(FILE_MODE, name, oid))
    while opened:
        yield _close(opened)


def _child(folder: str, below: str) -> str:
    """The folder in `folder` through which the way to `below` leads."""
    start = len(folder) + 1 if folder else 0
    end = below.find("/", start)
    return below if end < 0 else below[:end]


def _close(opened: list[tuple[str, bytearray]]) -> Tree:
    """The innermost open folder, which is an entry of the one around it from now on."""
    folder, body = opened.pop()
    tree = Tree(folder, _oid("tree", bytes(body)), bytes(body))
    if opened:
        opened[-1][1].extend(_entry(FOLDER_MODE, folder.rpartition("/")[2], tree.oid))
    return tree


def _entry(mode: str, name: str, oid: str) -> bytes:
    return f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid)


def folder_oids(files: Mapping[str, str]) -> dict[str, str]:
    """The tree oid of every folder of {path: file oid}; "" is the root. Paths use "/" and are relative."""
    return {tree.folder: tree.oid for tree in trees(sorted(files.items(), key=lambda file: file[0].encode()))}


def tree_oid(files: Mapping[str, str]) -> str:
    """The oid of the root tree that holds {path: file oid}; the empty mapping gives git's empty tree."""
    return folder_oids(files)[""]


def commit_object(tree: str, *, parents: Iterable[str] = (), author: Signature, message: str) -> bytes:
    """The commit as `git cat-file commit` prints it; committer is author, a final newline is added."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {author}", f"committer {author}", "", message.rstrip("\n") + "\n"]
    return "\n".join(lines).encode()


def commit_object_oid(body: bytes) -> str:
    """The id of the commit with this body."""
    return _oid("commit", body)


def commit_oid(tree: str, *, parents: Iterable[str] = (), author: Signature, message: str) -> str:
    """The commit id for this tree, history and message."""
    return commit_object_oid(commit_object(tree, parents=parents, author=author, message=message))


@dataclass(frozen=True, slots=True)
class CommitHeader:
    """What the history needs of a commit: its tree, its parents, and the committer's time in seconds."""

    tree: str
    parents: tuple[str, ...]
    seconds: int


def read_commit(body: bytes) -> CommitHeader:
    """The header of a commit object. Raises ValueError when it is none."""
    lines = body.partition(b"\n\n")[0].split(b"\n")
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        key, _, value = line.partition(b" ")
        found.setdefault(key, []).append(value)
    trees_, parents = found.get(b"tree", []), found.get(b"parent", [])
    if len(trees_) != 1 or not all(_HEX.fullmatch(oid) for oid in (*trees_, *parents)):
        raise ValueError("this is not a commit object")
    when = _WHEN.search(found.get(b"committer", [b""])[0])
    if when is None:
        raise ValueError("this commit object has no committer")
    return CommitHeader(trees_[0].decode(), tuple(oid.decode() for oid in parents), int(when[1]))
