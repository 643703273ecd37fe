"""A pack: first its plan in a spool file, then its bytes, one object at a time.

The header of a pack says how many objects follow, so everything is looked up before the first byte leaves. What the
rows give (commits, folders, LFS pointers) is written to the spool as it is; of a file in the blob store only the name
is, and its bytes are read, hashed and compressed when their turn comes. No database is asked after that, however slow
the client is. Memory holds a 20-byte id per object, the open folders, and a block of the file on its way.

    spool record   kind u8 (1 commit, 2 tree, 3 blob, 4 file of the store), length u64, then that many bytes;
                   of a file of the store: its git oid (20 bytes), its sha256 (32), its size (u64)
"""

import hashlib
import struct
import weakref
import zlib
from collections.abc import Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import NamedTuple, Self

from dulwich.object_format import SHA1
from dulwich.pack import pack_header_chunks, pack_object_header

from mirror.blobs.store import BlobStore, blob_key
from mirror.git.asking import Refused
from mirror.git.commits import BATCH_FILES, sorted_files
from mirror.git.history import History, Node, Selection
from registry import git
from registry.models import Blob, Commit, File

COMMIT, TREE, BLOB, STORED = 1, 2, 3, 4
MOST_OBJECTS = 1_000_000
MOST_FILES_READ = 2_000_000  # rows: a file counts once in every commit that has it
MOST_SPOOLED_BYTES = 2 << 30
SPOOL_IN_MEMORY_BYTES = 4 << 20
BLOCK_BYTES = 1 << 20
ZLIB_LEVEL = 1  # weights go by LFS; what is left is text, and the processor is what many clients share
QUERY_SIZE = 2000
_RECORD = struct.Struct(">BQ")
_STORED = struct.Struct(">20s32sQ")


class FileRow(NamedTuple):
    """What a pack needs to know of a file."""

    path: str
    git_oid: str
    size_bytes: int
    lfs_sha256: str | None
    sha256: str | None
    state: str | None


FACTS = ("path", "git_oid", "size_bytes", "lfs_sha256", "blob__sha256", "blob__state")


class Pack:
    """The objects of one pack. Its plan, a temporary file when it is large, is gone with it at the latest."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._spool = SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115  # closed by _close
        # Nobody reads the answer to a client that left early, so nobody would close its plan.
        self._close = weakref.finalize(self, self._spool.close)
        self._seen: set[bytes] = set()
        self._n_files_read = 0
        self.n_objects = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._close()

    # --- the plan -----------------------------------------------------------------------------------------

    def add_selection(self, selection: Selection, leave_out: str) -> None:
        """The selected commits, and what is in them that the client's own do not have.

        `leave_out` is a filter of a partial clone: `blob:none` (no files) or `tree:0` (commits only).
        """
        if leave_out != "tree:0":
            for node in selection.known if selection.send else ():
                self._know(node)
        self._add_commits(selection.send)
        if leave_out != "tree:0":
            for node in selection.send:
                self._add_tree(node, with_files=leave_out != "blob:none")

    def add_wanted(self, history: History, oids: list[str], leave_out: str) -> None:
        """Folders and files that a partial clone asks for by their ids. Raises Refused for what is not in the repo."""
        roots = {node.header.tree: node for node in history.nodes.values()}
        files = iter([oid for oid in oids if oid not in roots])
        for oid in oids:
            if oid in roots:
                self._add_tree(roots[oid], with_files=leave_out != "blob:none")
        rows = File.objects.filter(commit__repo=history.repo, commit__is_complete=True)
        while some := list(islice(files, QUERY_SIZE)):
            found = {row[1]: FileRow(*row) for row in rows.filter(git_oid__in=some).values_list(*FACTS)}
            if unknown := [oid for oid in some if oid not in found]:
                raise Refused(f"upload-pack: not our ref {unknown[0]}")
            for row in found.values():
                self._add_file(row)

    def _know(self, node: Node) -> None:
        """The client has this commit, so none of its folders and files is sent."""
        pairs = (self._knowing(row) for row in self._rows(node))
        self._seen |= {bytes.fromhex(tree.oid) for tree in git.trees(pairs)}

    def _knowing(self, row: FileRow) -> tuple[str, str]:
        self._seen.add(bytes.fromhex(row.git_oid))
        return row.path, row.git_oid

    def _add_commits(self, nodes: list[Node]) -> None:
        rest = iter(nodes)
        while some := list(islice(rest, QUERY_SIZE)):
            rows = Commit.objects.filter(pk__in=[node.pk for node in some])
            for body in rows.values_list("git_object", flat=True).iterator():
                self._put(COMMIT, bytes(body or b""))

    def _add_tree(self, node: Node, *, with_files: bool) -> None:
        if bytes.fromhex(node.header.tree) in self._seen:
            return
        for tree in git.trees(self._adding(row, with_files) for row in self._rows(node)):
            if self._is_new(tree.oid):
                self._put(TREE, tree.body)
        if bytes.fromhex(node.header.tree) not in self._seen:
            raise Refused(
                f"the files of {node.oid} are not those of its tree; tell the operator to run `audit`"
            )

    def _adding(self, row: FileRow, with_files: bool) -> tuple[str, str]:
        if with_files:
            self._add_file(row)
        return row.path, row.git_oid

    def _add_file(self, row: FileRow) -> None:
        if not self._is_new(row.git_oid):
            return
        if row.lfs_sha256 is not None:
            pointer = git.lfs_pointer(row.lfs_sha256, row.size_bytes)
            if git.git_blob_oid(pointer) != row.git_oid:
                raise Refused(f"the LFS pointer of {row.path!r} is not spelled as git-lfs spells it")
            self._put(BLOB, pointer)
        elif row.sha256 is None or row.state != Blob.State.PRESENT:
            raise Refused(
                f"{row.path!r} is {row.state or 'not held'} here; its operator runs `audit --repair`"
            )
        else:
            about = (bytes.fromhex(row.git_oid), bytes.fromhex(row.sha256), row.size_bytes)
            self._put(STORED, _STORED.pack(*about))

    def _rows(self, node: Node) -> Iterator[FileRow]:
        for row in sorted_files(node.pk).values_list(*FACTS).iterator(chunk_size=BATCH_FILES):
            self._n_files_read += 1
            if self._n_files_read > MOST_FILES_READ:
                raise _too_much()
            yield FileRow(*row)

    def _is_new(self, oid: str) -> bool:
        before = len(self._seen)
        self._seen.add(bytes.fromhex(oid))
        return len(self._seen) > before

    def _put(self, kind: int, body: bytes) -> None:
        self.n_objects += 1
        if self.n_objects > MOST_OBJECTS or self._spool.tell() > MOST_SPOOLED_BYTES:
            raise _too_much()
        self._spool.write(_RECORD.pack(kind, len(body)))
        self._spool.write(body)

    # --- the bytes ----------------------------------------------------------------------------------------

    def chunks(self) -> Iterator[bytes]:
        """The whole pack. Raises BytesDiffer, before the end, when a file of the store is not what it should be."""
        self._seen.clear()
        digest = hashlib.sha1(usedforsecurity=False)
        for chunk in self._all():
            digest.update(chunk)
            yield chunk
        yield digest.digest()

    def _all(self) -> Iterator[bytes]:
        yield from pack_header_chunks(self.n_objects)
        self._spool.seek(0)
        for _ in range(self.n_objects):
            kind, length = _RECORD.unpack(self._spool.read(_RECORD.size))
            body = self._spool.read(length)
            if kind == STORED:
                yield from _stored(self._store, *_STORED.unpack(body))
            else:
                yield bytes(pack_object_header(kind, None, length, SHA1))
                yield zlib.compress(body, ZLIB_LEVEL)


class BytesDiffer(Exception):
    """The blob store gave other bytes than git's id stands for."""


def _stored(store: BlobStore, git_oid: bytes, sha256: bytes, size_bytes: int) -> Iterator[bytes]:
    """A file of the store as an object of a pack, hashed on its way."""
    digest, packer = git.start_git_hash("blob", size_bytes), zlib.compressobj(ZLIB_LEVEL)
    yield bytes(pack_object_header(BLOB, None, size_bytes, SHA1))
    with store.open(blob_key(sha256.hex())) as opened:
        while block := opened.read(BLOCK_BYTES):
            digest.update(block)
            yield packer.compress(block)
    if digest.digest() != git_oid:
        raise BytesDiffer(f"{blob_key(sha256.hex())} is damaged; its operator runs `audit --repair`")
    yield packer.flush()


def _too_much() -> Refused:
    return Refused("that is too much for one pack; clone with --depth 1, or use `hf download`")
