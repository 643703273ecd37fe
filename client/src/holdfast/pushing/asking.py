"""What the index wants of the files: how to send each, and which it has already."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from holdfast.errors import BadAnswer
from holdfast.fetching.hashing import Digests, hash_file
from holdfast.fetching.progress import Progress
from holdfast.network.sending import post_json
from holdfast.network.transport import Transport
from holdfast.pushing.folder import LocalFile

SAMPLE_BYTES = 512
FILES_AT_ONCE = 256


@dataclass(frozen=True)
class Wanted:
    """One file as the index wants it. `held_oid` is what the path has now: a sha256, or git's name for content."""

    file: LocalFile
    is_lfs: bool
    is_ignored: bool
    held_oid: str | None


@dataclass(frozen=True)
class Hashed:
    """One file that was hashed."""

    wanted: Wanted
    digests: Digests

    @property
    def oid(self) -> str:
        """What the index calls the bytes: sha256 of a large file, git's name for the content of another."""
        return self.digests.sha256 if self.wanted.is_lfs else str(self.digests.git_oid)

    @property
    def is_unchanged(self) -> bool:
        """Whether the path has these bytes already."""
        return self.wanted.held_oid == self.oid


def ask_how(
    transport: Transport, repo_url: str, revision: str, files: Sequence[LocalFile], *, name: str, retries: int
) -> list[Wanted]:
    """The files in order, each with how the index wants it."""
    url = f"{repo_url}/preupload/{quote(revision, safe='')}"
    wanted: list[Wanted] = []
    for some in _in_batches(files):
        answer = post_json(
            transport, url, {"files": [_asked(file) for file in some]}, name=name, retries=retries
        )
        wanted += _understood(answer, some, url)
    return wanted


def hash_all(wanted: Sequence[Wanted], progress: Progress) -> list[Hashed]:
    """Every file with what it is; one after another, because a disk reads fastest so."""
    return [_hash(one, progress) for one in wanted]


def _hash(one: Wanted, progress: Progress) -> Hashed:
    path = one.file.path
    progress.started(path, one.file.size_bytes, 0)
    digests = hash_file(one.file.local, with_git=not one.is_lfs, advance=lambda n: progress.advanced(path, n))
    progress.finished(path)
    return Hashed(one, digests)


def _in_batches(files: Sequence[LocalFile]) -> Iterator[Sequence[LocalFile]]:
    for start in range(0, len(files), FILES_AT_ONCE):
        yield files[start : start + FILES_AT_ONCE]


def _asked(file: LocalFile) -> dict[str, Any]:
    with file.local.open("rb") as opened:
        sample = base64.b64encode(opened.read(SAMPLE_BYTES)).decode("ascii")
    return {"path": file.path, "size": file.size_bytes, "sample": sample}


def _understood(answer: Any, files: Sequence[LocalFile], url: str) -> list[Wanted]:
    """One for each file that was asked about, whatever order they came in."""
    try:
        told = {one["path"]: one for one in answer["files"]}
        return [_wanted(file, told[file.path]) for file in files]
    except (KeyError, TypeError) as error:
        raise BadAnswer(f"{url} did not say how it wants the files", url=url) from error


def _wanted(file: LocalFile, told: Any) -> Wanted:
    mode, oid = told["uploadMode"], told.get("oid")
    if mode not in ("lfs", "regular"):
        raise KeyError(mode)
    return Wanted(file, mode == "lfs", bool(told.get("shouldIgnore")), oid if isinstance(oid, str) else None)
