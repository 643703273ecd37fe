"""What an index tells about files: facts without behaviour, known to everything that does not speak HTTP itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

COMMIT = re.compile(r"^[0-9a-f]{40}\Z")
SHA256 = re.compile(r"^[0-9a-f]{64}\Z")


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
    def known_sha256(self) -> str | None:
        """The sha256 that the listing tells, or that a lock does."""
        return self.sha256 or (self.pins[0] if len(self.pins) == 1 else None)

    @property
    def etag(self) -> str:
        """The name of the blob in the cache: sha256 for LFS files, the git oid otherwise."""
        return self.sha256 or self.git_oid or ""


@dataclass(frozen=True)
class Choice:
    """A variant that can be pulled: one GGUF file (or its shards), or a whole format.

    What follows the verdict only a Holdfast index knows, of variants that it measured or whose headers it read.
    """

    variant: str
    repo_id: str
    path: str
    size_bytes: int
    verdict: str | None = None
    mean_kld: float | None = None  # how far it is from its parent; smaller is closer
    top1_agreement: float | None = None  # 0 to 1
    perplexity_ratio: float | None = None  # to the parent's
    bits_per_weight: float | None = None
    parameter_count: int | None = None
    context_length: int | None = None  # tokens
    cache_bytes_per_token: int | None = None  # keys and values of one token, as F16
    pulled_by_default: bool = True  # whether the index lets it be taken without being asked for by name

    @property
    def is_gguf(self) -> bool:
        """Whether it is one GGUF model."""
        return self.path.lower().endswith(".gguf")


@dataclass(frozen=True)
class VariantAnswer:
    """What a Holdfast index says a variant is: the files and their commit, or what there is to choose from."""

    repo_id: str | None
    commit: str | None
    sha256_by_path: Mapping[str, str | None]
    choices: tuple[Choice, ...]
