"""A repo goes: its rows at once, its manifests right after, its bytes when the sweeper finds that nobody needs them.

What was made of its commits here, or published in it, and the verdicts that compare with them go too: they say
nothing without it. Files of other repos stay, such as quantisations that were published elsewhere, and lineage keeps
the name. The event of the deletion names every manifest, so that one which a crash left behind neither keeps
bytes for ever nor brings the repo back: the sweeper removes it (`forget_deleted`).
"""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from mirror.blobs.keys import COMMITS, manifest_key
from mirror.blobs.store import BlobStore
from registry.models import Artifact, Blob, Commit, Event, File, Imatrix, Job, Ref, Repo, Validation
from registry.work import cancel

QUERY_SIZE = 500


class StillNeeded(Exception):
    """Something that stays can only be made again from this repo."""

    code = "still-needed"

    def __init__(self, repo: Repo, file: File) -> None:
        super().__init__(
            f"{repo.repo_id} cannot be deleted: {file.path} of {file.commit.repo.repo_id} was evicted to save room and "
            "can only be made again from it. Delete that repo first, or ask for the file and wait until it is rebuilt."
        )
        self.repo, self.file = repo, file


def delete_repo(store: BlobStore, user: User, repo: Repo) -> None:
    """Nobody finds the repo any more, under this or a former name. Raises StillNeeded."""
    with transaction.atomic():
        locked = Repo.objects.select_for_update(of=("self",)).get(pk=repo.pk)
        _refuse_if_needed(locked)
        commits = list(locked.commits.order_by("pk").values_list("commit_hash", "size_bytes"))
        keys = [manifest_key(locked.repo_id, commit_hash) for commit_hash, _ in commits]
        for job in Job.objects.unfinished().filter(repo=locked):
            cancel(job.pk)
        _delete_rows(locked)
        Event.objects.create(
            type=Event.Type.DELETION, agent=user.get_username(),
            summary=f"deleted the {locked.repo_type} {locked.repo_id} with {len(commits)} commits",
            detail={"repo_id": locked.repo_id, "repo_type": locked.repo_type, "manifests": keys},
        )  # fmt: skip
        transaction.on_commit(lambda: forget_manifests(store, keys), robust=True)


def forget_manifests(store: BlobStore, keys: Iterable[str]) -> list[str]:
    """Those of the manifests that belong to no commit are gone; returns them. Idempotent."""
    gone = _of_no_commit(keys)
    for key in gone:
        store.delete(key)
    return gone


def left_behind(store: BlobStore) -> list[str]:
    """Manifests that a repo which was deleted, or moved, left in the bucket. It is listed only if there was any."""
    told = Event.objects.filter(detail__has_key="manifests").values_list("detail", flat=True)
    doomed = {key for detail in told.iterator() for key in detail["manifests"]}
    present = [stat.key for stat in store.list(COMMITS) if stat.key in doomed] if doomed else []
    return _of_no_commit(present)


def _of_no_commit(keys: Iterable[str]) -> list[str]:
    found: list[str] = []
    for some in _in_batches(sorted(keys)):
        hashes = {key: key.rpartition("/")[2].removesuffix(".json") for key in some}
        rows = Commit.objects.filter(commit_hash__in=hashes.values()).select_related("repo")
        living = {manifest_key(row.repo.repo_id, row.commit_hash) for row in rows}
        found += sorted(hashes.keys() - living)
    return found


def _refuse_if_needed(repo: Repo) -> None:
    evicted = File.objects.filter(blob__state=Blob.State.EVICTED, blob__artifacts__source__repo=repo)
    if file := evicted.exclude(commit__repo=repo).select_related("commit__repo").first():
        raise StillNeeded(repo, file)


def _delete_rows(repo: Repo) -> None:
    """In the order that the database demands: first what protects the commits, then they, then the repo."""
    commits = Commit.objects.filter(repo=repo)
    Validation.objects.filter(parent__in=commits).delete()
    Artifact.objects.filter(Q(source__in=commits) | Q(published_in__in=commits)).delete()
    Imatrix.objects.filter(commit__in=commits).delete()
    Ref.objects.filter(repo=repo).delete()
    File.objects.filter(commit__in=commits).delete()
    commits.delete()
    repo.delete()


def _in_batches(values: list[str]) -> Iterable[list[str]]:
    return (values[start : start + QUERY_SIZE] for start in range(0, len(values), QUERY_SIZE))
