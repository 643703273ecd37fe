"""What the file system under a directory store can and cannot do."""

import os
import shutil

from mirror.blobs.directory.folder import DirectoryStore
from mirror.blobs.probe import Bench, Check, Lacking, expect
from mirror.blobs.store import StagedBusy

COMFORTABLE_BYTES = 10 << 30


def _store(bench: Bench) -> DirectoryStore:
    assert isinstance(bench.store, DirectoryStore)  # noqa: S101  # chosen by the store's own name
    return bench.store


def _one_file_system(bench: Bench) -> str:
    store = _store(bench)
    final = store.root / bench.keep(b"where am I")
    expect(final.stat().st_dev == store.incoming.stat().st_dev, "incoming/ and blobs/ are on different disks")
    return "incoming/ and blobs/ are on the same"


def _hard_links(bench: Bench) -> str:
    store, name = _store(bench), bench.stage_name()
    with store.stage(name) as staged:
        other = store.incoming / f"{name}-link"
        try:
            os.link(staged.path, other)
            expect(staged.path.stat().st_nlink == 2, "a second name did not become a link")
        except OSError as error:
            raise Lacking(f"no hard links: {error.strerror}") from error
        finally:
            other.unlink(missing_ok=True)
            staged.discard()
    return "made and counted"


def _locks(bench: Bench) -> str:
    name = bench.stage_name()
    with bench.store.stage(name) as staged:
        try:
            bench.store.stage(name).close()
        except StagedBusy:
            staged.discard()
            return "a second writer was told to wait"
        staged.discard()
    raise Lacking("two writers could open one staged file")


def _read_only(bench: Bench) -> str:
    mode = (_store(bench).root / bench.keep(b"read only")).stat().st_mode & 0o777
    expect(mode == 0o444, f"a blob has mode {mode:o}")
    return "blobs have mode 444"


def _case(bench: Bench) -> str:
    upper, lower = bench.key("Name"), bench.key("name")
    bench.store.put(upper, b"upper")
    expect(bench.store.stat(lower) is None, "Name and name are the same file here")
    return "Name and name are two files"


def _space(bench: Bench) -> str:
    free = shutil.disk_usage(_store(bench).root).free
    expect(free >= COMFORTABLE_BYTES, f"{free >> 20} MiB are free")
    return f"{free >> 30} GiB are free"


CHECKS = [
    Check(
        "one file system",
        _one_file_system,
        "A blob cannot be given its name in one step.",
        "Mount the disk on the store's root, not on a folder inside it.",
    ),
    Check(
        "hard links",
        _hard_links,
        "A blob cannot be given its name atomically.",
        "Use ext4, XFS, ZFS, Btrfs or NFS; exFAT and some FUSE mounts have no links.",
    ),
    Check(
        "locks",
        _locks,
        "Two workers could write into one staged file; the digest would be wrong and the file fetched again.",
        "On NFS mount with locks (not nolock, not local_lock=all).",
    ),
    Check(
        "read-only blobs", _read_only, "A careless hand could change a blob.", "Use a file system with modes."
    ),
    Check(
        "names differ by case",
        _case,
        "Two repos whose names differ only by case would share one manifest.",
        "Use a case-sensitive file system.",
        is_needed=False,
    ),
    Check(
        "free space",
        _space,
        "The next mirror job may fail for want of space.",
        "Add a disk.",
        is_needed=False,
    ),
]
