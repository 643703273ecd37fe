"""Every commit row against its manifest in the bucket, both ways."""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mirror.blobs.keys import COMMITS
from mirror.blobs.store import BlobStore, KeyMissing, manifest_key
from mirror.fixity.report import Finding, OnProgress, Report
from registry.models import Commit

BATCH_COMMITS = 200
FACTS = ("path", "size_bytes", "sha256", "git_oid", "is_lfs")


def check_manifests(
    store: BlobStore, report: Report, *, quick: bool, on_progress: OnProgress
) -> Iterator[tuple[Finding, Commit]]:
    """Every complete commit has its manifest, with the recorded sha256, and it lists the files of the rows.

    `quick` only looks whether it is there. Yields each error with its row. One query per commit and 200 commits.
    """
    total = Commit.objects.filter(is_complete=True).count()
    for commit in _commits():
        report.n_commits += 1
        key = manifest_key(commit.repo.repo_id, commit.commit_hash)
        fault = _fault_when_looking(store, key) if quick else _fault(store, key, commit)
        if fault and Commit.objects.filter(pk=commit.pk).exists():
            yield report.add(fault[0], key, fault[1]), commit
        on_progress("manifests", report.n_commits, total)
    _note_orphans(store, report)


def _commits() -> Iterator[Commit]:
    """All complete ones, a page at a time; no cursor stays open. Others have no manifest yet."""
    after = 0
    rows = Commit.objects.filter(is_complete=True).select_related("repo").order_by("pk")
    while page := list(rows.filter(pk__gt=after)[:BATCH_COMMITS]):
        yield from page
        after = page[-1].pk


def _fault_when_looking(store: BlobStore, key: str) -> tuple[str, str] | None:
    return None if store.stat(key) else ("manifest-missing", "the commit has no manifest in the bucket.")


def _fault(store: BlobStore, key: str, commit: Commit) -> tuple[str, str] | None:
    try:
        manifest = store.read(key)
    except KeyMissing:
        return "manifest-missing", "the commit has no manifest in the bucket."
    sha256 = hashlib.sha256(manifest).hexdigest()
    if commit.manifest_sha256 and sha256 != commit.manifest_sha256:
        return "manifest-damaged", f"sha256 {sha256} instead of {commit.manifest_sha256}."
    listed = listed_files(manifest)
    if listed is None:
        return "manifest-damaged", "it cannot be read as a manifest."
    differing = sorted({fact[0] for fact in listed ^ _recorded_files(commit)})
    if differing:
        return "manifest-differs", f"it disagrees with the catalog about {', '.join(differing[:5])}."
    return None


def listed_files(manifest: bytes) -> set[tuple[Any, ...]] | None:
    """Path, size and digests of every file that the manifest lists; None if it is no manifest."""
    try:
        return {tuple(file[fact] for fact in FACTS) for file in json.loads(manifest)["files"]}
    except (ValueError, KeyError, TypeError):
        return None


def _recorded_files(commit: Commit) -> set[tuple[Any, ...]]:
    columns = ("path", "size_bytes", "blob__sha256", "git_oid", "is_lfs")
    return set(commit.files.values_list(*columns))


def _note_orphans(store: BlobStore, report: Report) -> None:
    """Manifests of commits that the catalog does not know."""
    keys = (stat.key for stat in store.list(COMMITS))
    while some := list(islice(keys, BATCH_COMMITS)):
        hashes = {key: key.rpartition("/")[2].removesuffix(".json") for key in some}
        rows = Commit.objects.filter(commit_hash__in=hashes.values()).select_related("repo")
        known = {manifest_key(row.repo.repo_id, row.commit_hash) for row in rows}
        for key in hashes.keys() - known:
            report.add("manifest-orphan", key, "a manifest of a commit that the catalog does not know.")
