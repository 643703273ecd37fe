"""One file: fetched by ranges, hashed while it streams, and promoted only when it is what upstream declared."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from mirror.blobs.store import BlobStore, Digests, Staged, blob_key
from mirror.quarantine import set_aside
from mirror.upstream.base import RemoteCommit, RemoteFile, UpstreamClient, UpstreamUnavailable, WrongBytes
from mirror.upstream.http import wait_before

# What a power cut may cost. A killed process loses less: what was written is in the kernel's hands.
CHECKPOINT_BYTES = 256 << 20
# A broken connection is no failure if it brought at least so much; after so many failures in a row the job
# goes back to the queue and waits there.
PROGRESS_BYTES = 1 << 20
ATTEMPTS = 4


class Stopped(Exception):
    """The file was left unfinished because the work must stop; what is staged stays."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes that are in the store now, verified."""

    sha256: str
    size_bytes: int
    git_oid: str | None
    is_new: bool


@dataclass(frozen=True, slots=True)
class Halt:
    """How files in flight are told to stop.

    `soon` ends downloading at the next piece. Bytes that have all arrived are still hashed and promoted: after a
    resume that means reading them again from the beginning, and to break it off at the end of each slice would be
    to begin it anew for ever. `now` ends that too.
    """

    soon: threading.Event = field(default_factory=threading.Event)
    now: threading.Event = field(default_factory=threading.Event)

    def at_once(self) -> None:
        self.soon.set()
        self.now.set()


def fetch_file(
    client: UpstreamClient, store: BlobStore, commit: RemoteCommit, file: RemoteFile, *,
    stage_name: str, on_bytes: Callable[[int], None], halt: Halt, is_broken: bool = False,
) -> Fetched:  # fmt: skip
    """The file's bytes are in the store under their sha256, and equal what upstream declared.

    Continues what an earlier process staged under `stage_name`. `on_bytes` is told how many bytes more (or, when
    wrong ones are thrown away, less) there are. Wrong bytes are fetched once more from the beginning, as a proxy
    on the way may be to blame; the second time WrongBytes is raised. In both cases nothing of them stays.
    `is_broken`: what the store has under the name of these bytes is known to be wrong, and is set aside for them.
    Raises Stopped soon after `halt` asks for it.
    """
    fetch = _Fetch(client, commit, file, on_bytes, halt, is_broken)
    try:
        return fetch.once(store, stage_name)
    except WrongBytes:
        return fetch.once(store, stage_name)


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One file on its way, and whom to tell about it."""

    client: UpstreamClient
    commit: RemoteCommit
    file: RemoteFile
    on_bytes: Callable[[int], None]
    halt: Halt
    is_broken: bool

    def once(self, store: BlobStore, stage_name: str) -> Fetched:
        """Fetched from where the staged bytes end; wrong ones are discarded."""
        with self._stage(store, stage_name) as staged:
            self.on_bytes(staged.size_bytes)
            try:
                self._download(staged)
                digests = staged.finish(lambda _: self._stop_if(self.halt.now))
                self._check(digests)
            except WrongBytes:
                self.on_bytes(-staged.size_bytes)
                staged.discard()
                raise
            if self.is_broken:
                set_aside(store, digests.sha256)
            key = blob_key(digests.sha256)
            is_new = store.promote(staged, key, sha256=digests.sha256, size_bytes=self.file.size_bytes)
        return Fetched(digests.sha256, digests.size_bytes, digests.git_oid, is_new)

    def _stage(self, store: BlobStore, name: str) -> Staged:
        """The staged bytes to go on from; more than the file has cannot be its beginning."""
        git_size = None if self.file.lfs_sha256 else self.file.size_bytes
        staged = store.stage(name, git_size=git_size)
        if staged.size_bytes > self.file.size_bytes:
            staged.discard()
            staged = store.stage(name, git_size=git_size)
        return staged

    def _download(self, staged: Staged) -> None:
        """All bytes are staged. Goes on after a broken connection while that brings anything."""
        failures = 0
        while staged.size_bytes < self.file.size_bytes:
            before = staged.size_bytes
            try:
                self._read_on(staged)
            except UpstreamUnavailable:
                failures = 0 if staged.size_bytes - before >= PROGRESS_BYTES else failures + 1
                if failures == ATTEMPTS:
                    raise
                if self.halt.soon.wait(wait_before(failures)):
                    raise Stopped from None

    def _read_on(self, staged: Staged) -> None:
        """One connection's worth of bytes, from where the staged ones end."""
        commit, saved = self.commit, staged.size_bytes
        with self.client.open(commit.repo_id, commit.commit_hash, self.file, staged.size_bytes) as pieces:
            for piece in pieces:
                self._stop_if(self.halt.soon)
                if staged.size_bytes + len(piece) > self.file.size_bytes:
                    raise self._wrong(f"{self.file.size_bytes} bytes", "more", code="wrong-size")
                staged.write(piece)
                self.on_bytes(len(piece))
                if staged.size_bytes - saved >= CHECKPOINT_BYTES:
                    saved = staged.checkpoint()
        if staged.size_bytes < self.file.size_bytes:
            what = f"{commit.repo_id}@{commit.commit_hash[:8]} {self.file.path}"
            reason = f"it ended after {staged.size_bytes} of {self.file.size_bytes} bytes"
            raise UpstreamUnavailable("upstream", what, reason)

    def _check(self, digests: Digests) -> None:
        """Raises WrongBytes unless these digests are the ones that upstream declared."""
        file = self.file
        if file.lfs_sha256 and digests.sha256 != file.lfs_sha256:
            raise self._wrong(f"sha256 {file.lfs_sha256}", f"sha256 {digests.sha256}")
        if not file.lfs_sha256 and digests.git_oid != file.git_oid:
            raise self._wrong(f"git oid {file.git_oid}", f"git oid {digests.git_oid}")

    def _stop_if(self, asked: threading.Event) -> None:
        if asked.is_set():
            raise Stopped

    def _wrong(self, expected: str, actual: str, *, code: str = "wrong-digest") -> WrongBytes:
        commit = self.commit
        return WrongBytes(commit.repo_id, commit.commit_hash, self.file.path, expected, actual, code=code)
