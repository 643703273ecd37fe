"""A repo gets another name, or goes to another organisation; whoever asks for the old name is sent to the new one.

Order: its manifests under the new name, then the rows in one transaction, then the old manifests go. A crash
between leaves manifests that the event names, and the sweeper removes them.
"""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from mirror.blobs.keys import manifest_key
from mirror.blobs.store import BlobStore, KeyMissing
from mirror.deleting import forget_manifests
from mirror.manifest import renamed, write_manifest
from registry.models import Commit, Organisation, Repo
from registry.repos import RepoExists, find_any, new_repo, rename


def move_repo(store: BlobStore, user: User, repo: Repo, organisation: Organisation, name: str) -> Repo:
    """The repo is called `organisation/name`. Raises BadName and RepoExists.

    What was made of it stays where it is, and lineage leads to the new name.
    """
    goal = new_repo(organisation, name, repo_type=repo.repo_type, private=repo.private, instead_of=repo)
    written = _write_manifests(store, repo, goal.repo_id, {})
    try:
        with transaction.atomic():
            locked = Repo.objects.select_for_update(of=("self",)).get(pk=repo.pk)
            written = _write_manifests(store, locked, goal.repo_id, written)
            for commit_hash, sha256 in written.items():
                Commit.objects.filter(repo=locked, commit_hash=commit_hash).update(manifest_sha256=sha256)
            keys = [manifest_key(locked.repo_id, commit_hash) for commit_hash in written]
            rename(user, locked, goal, manifests=keys)
            transaction.on_commit(lambda: forget_manifests(store, keys), robust=True)
    except IntegrityError:  # somebody took the name at this very moment
        forget_manifests(store, [manifest_key(goal.repo_id, commit_hash) for commit_hash in written])
        if taken := find_any(goal.repo_type, goal.repo_id):
            raise RepoExists(taken) from None
        raise
    return locked


def _write_manifests(store: BlobStore, repo: Repo, new_id: str, written: dict[str, str]) -> dict[str, str]:
    """{commit: sha256 of its manifest}: each commit's manifest is in the bucket under the new name.

    One that is missing or damaged is left to the audit, which finds it under whatever name.
    """
    if repo.repo_id == new_id:
        return written
    hashes = (
        Commit.objects.filter(repo=repo)
        .exclude(commit_hash__in=written)
        .values_list("commit_hash", flat=True)
    )
    for commit_hash in list(hashes):
        try:
            manifest = renamed(store.read(manifest_key(repo.repo_id, commit_hash)), new_id)
        except KeyMissing:
            continue
        if manifest is not None:
            written[commit_hash] = write_manifest(store, new_id, commit_hash, manifest)
    return written
