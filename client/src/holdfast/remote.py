"""What an index tells about files: facts without behaviour, known to everything that does not speak HTTP itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

COMMIT = re.compile(r"^[0-9a-f]{40}$")
SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a commit, as listed. `sha256` is known for LFS files, `git_oid` names the content of the others.

    `pins` are the sha256 that somebody allows (a lock, a `--hash`); empty if nobody said any.
    """

    path: str
    size_bytes: int
    git_oid: str | None
    sha256: str | None
    pins: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """The name of the blob in the cache: sha256 for LFS files, the git oid otherwise."""
        return self.sha256 or self.git_oid or ""


@dataclass(frozen=True)
class Choice:
    """A variant that can be pulled: one GGUF file (or its shards), or a whole format."""

    variant: str
    repo_id: str
    path: str
    size_bytes: int
    verdict: str | None = None


@dataclass(frozen=True)
class VariantAnswer:
    """What a Holdfast index says a variant is: the files and their commit, or what there is to choose from."""

    repo_id: str | None
    commit: str | None
    sha256_by_path: Mapping[str, str | None]
    choices: tuple[Choice, ...]
