"""What the cache holds, as lines of a models.txt: `pull -r` of them brings the same files back, byte for byte.

A commit of which all files are here is named whole; one GGUF model by its variant; anything else file by file. Every
file has its hash, so the lines also pass `--require-hashes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.cache.installed import Snapshot, installed
from holdfast.choosing.selection import Patterns
from holdfast.choosing.variants import gguf_groups
from holdfast.fetching.hashing import hash_file
from holdfast.lists.requirements import Requirement
from holdfast.reference import parse_reference
from holdfast.sources.remote import RemoteFile

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def freeze(cache_dir: Path) -> list[Requirement]:
    """One requirement for each cached commit, sorted. Hashes every file whose blob is not named by its sha256."""
    return freeze_snapshots(installed(cache_dir))


def freeze_snapshots(snapshots: Iterable[Snapshot]) -> list[Requirement]:
    """One requirement for each of these commits of which any file is here, sorted."""
    found = [_requirement(snapshot) for snapshot in snapshots if snapshot.files]
    return sorted(found, key=lambda requirement: requirement.text)


def freeze_lines(requirements: Iterable[Requirement]) -> list[str]:
    """The lines, every hash on one of its own."""
    lines = []
    for requirement in requirements:
        hashes = [f"    --hash sha256:{one}" for one in requirement.hashes]
        block = [requirement.text, *hashes]
        lines += [f"{line} \\" for line in block[:-1]] + block[-1:]
    return lines


def name_of(snapshot: Snapshot) -> str:
    """The line that brings the same files, without hashes. Reads no file but the kept listing."""
    return _unhashed(snapshot).text


def _requirement(snapshot: Snapshot) -> Requirement:
    root = snapshot.repo.snapshot_path(snapshot.commit)
    sums = {file.sha256 or hash_file(root / file.path, with_git=False).sha256 for file in snapshot.files}
    return replace(_unhashed(snapshot), hashes=tuple(sorted(sums)))


def _unhashed(snapshot: Snapshot) -> Requirement:
    name = f"{snapshot.repo.repo_id}@{snapshot.commit}"
    variant, patterns = _how(snapshot)
    return Requirement(parse_reference(f"{name}:{variant}" if variant else name), (), patterns)


def _how(snapshot: Snapshot) -> tuple[str | None, Patterns]:
    """The variant, or the patterns, that mean exactly these files of the commit."""
    listing = snapshot.repo.read_tree(snapshot.commit)
    here = {file.path for file in snapshot.files}
    if listing is not None and here == {file.path for file in listing}:
        several = len(gguf_groups(listing)) > 1
        return None, Patterns(("*",)) if several else Patterns()
    variant = _variant(snapshot.files, listing)
    if variant is not None:
        return variant, Patterns()
    return None, Patterns(tuple(_literally(path) for path in sorted(here)))


def _variant(files: Sequence[RemoteFile], listing: Sequence[RemoteFile] | None) -> str | None:
    """The name of the one GGUF model that these files are, if no other model of the commit answers to it."""
    groups = gguf_groups(files)
    if listing is None or len(groups) != 1 or len(groups[0].files) != len(files):
        return None
    named = [group for group in gguf_groups(listing) if group.answers_to(groups[0].variant)]
    is_it = len(named) == 1 and len(named[0].files) == len(files)
    return groups[0].variant if is_it else None


def _literally(path: str) -> str:
    """A pattern that matches this path only. A brace would read as the start of a variable, and what is no character of
    a line becomes a question mark.
    """
    return _NO_TEXT.sub("?", re.sub(r"([*?\[{])", r"[\1]", path))
