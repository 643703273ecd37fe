"""How a commit of our own comes into being: a draft in the bucket, then every row in one transaction, the ref last.

A draft is computed from what the branch names and put into the bucket (its manifest; the bytes of its files are
there already, verified). The transaction locks the repo, looks whether the branch still names the same commit, and
writes Commit, File, Blob, Event, the inspection job and the ref. When somebody was faster, the changes are made anew
on top of theirs: two committers on one branch both land, and neither loses a file. Whoever named the commit that
the changes are meant for (`parent`) is refused instead.

The id of a commit is the one git computes, and `Commit.git_object` holds the object that it is the hash of.
"""

from collections.abc import Callable, Sequence

from django.db import transaction

from mirror.committing.changes import Change, Entry, apply_changes, entries_of, oids_of, put_small
from mirror.committing.drafts import Draft, Letter, put_draft, record_draft, withdraw_draft
from mirror.committing.errors import (
    BranchBusy,
    BranchMoved,
    BytesGone,
    CommitRefused,
    EntryMissing,
    PathConflict,
    RepoGone,
)
from mirror.store import blob_store
from registry.models import Commit, Event, Ref, Repo
from registry.revisions import DEFAULT
from registry.work import submit

__all__ = [
    "BranchBusy", "BranchMoved", "BytesGone", "Change", "CommitRefused", "Draft", "Entry", "EntryMissing",
    "Letter", "PathConflict", "RepoGone", "entries_of", "land", "make_commit", "move_branch", "move_ref", "note_commit",
    "put_draft", "put_small", "record_draft", "squash", "withdraw_draft",
]  # fmt: skip

AGENT = "holdfast commit"
MAX_TURNS = 50


class _Overtaken(Exception):
    """Somebody moved the branch, or the repo, meanwhile; the draft is thrown away."""


def make_commit(
    repo: Repo, changes: Sequence[Change], letter: Letter, *, branch: str = DEFAULT,
    kind: str = Ref.Kind.BRANCH, parent: str | None = None, also: Callable[[], None] = lambda: None, agent: str = AGENT,
) -> Commit:  # fmt: skip
    """The branch names a commit that has the changes; rows, manifest, event and inspection job are there.

    Changes that change nothing make no commit: what the branch names is returned. A branch that is not there yet
    begins here, without a parent. With `parent`, the start of a commit hash, BranchMoved unless the branch names
    that commit. `kind` is that of the ref: a pull request is written to like a branch. `also` runs inside the
    transaction. The bytes of all entries must be in the store.

    Raises EntryMissing, PathConflict, BytesGone, BranchBusy.
    """

    def look() -> Commit | None:
        base = _named(repo, kind, branch)
        if parent and not (base and base.commit_hash.startswith(parent)):
            raise BranchMoved(repo, parent, base)
        return base

    def point(locked: Repo, commit: Commit) -> None:
        move_ref(locked, kind, branch, commit)
        also()

    return land(repo, changes, letter, look=look, point=point, agent=agent)


def land(
    repo: Repo,
    changes: Sequence[Change] | Callable[[Commit | None], Sequence[Change]],
    letter: Letter,
    *,
    look: Callable[[], Commit | None],
    point: Callable[[Repo, Commit], None],
    more_parents: tuple[str, ...] = (),
    agent: str = AGENT,
) -> Commit:
    """The commit that follows what `look` finds, with the changes; `point` moves refs in the same transaction.

    `look` is asked again under the lock of the repo; when it finds another commit than before, all begins anew.
    Changes that depend on what they are made to are a function of it.
    """
    for _ in range(MAX_TURNS):
        base = look()
        before = entries_of(base) if base else {}
        wanted = changes(base) if callable(changes) else changes
        after = apply_changes(repo, base, before, wanted)
        if base and not more_parents and oids_of(after) == oids_of(before):
            return base
        parents = ((base.commit_hash,) if base else ()) + more_parents
        draft = put_draft(
            blob_store(), repo, list(after.values()), letter, parents=parents, recorded_by=agent
        )
        try:
            with transaction.atomic():
                locked = _lock(repo)
                if look() != base:
                    raise _Overtaken
                commit = record_draft(locked, draft)
                point(locked, commit)
                note_commit(commit, letter.author, agent)
                return commit
        except (_Overtaken, CommitRefused) as failure:
            withdraw_draft(repo, draft)
            if isinstance(failure, CommitRefused):
                raise
            repo = Repo.objects.filter(pk=repo.pk).first() or repo  # it may have another name now
    raise BranchBusy(f"{repo.repo_id} kept changing while a commit was made. Send it again.")


def squash(repo: Repo, ref: Ref, letter: Letter, *, agent: str = AGENT) -> Commit:
    """The ref names a commit without parents that has the files of the one it named; that one stays under its hash.

    Raises BranchMoved if somebody commits meanwhile: what they did must not be squashed unseen.
    """
    before = ref.commit
    entries = list(entries_of(before).values())
    draft = put_draft(blob_store(), repo, entries, letter, parents=(), recorded_by=agent)
    try:
        with transaction.atomic():
            locked = _lock(repo)
            if (now := _named(locked, ref.kind, ref.name)) != before:
                raise BranchMoved(repo, before.commit_hash, now)
            commit = record_draft(locked, draft)
            move_ref(locked, ref.kind, ref.name, commit)
            note_commit(commit, letter.author, agent)
            return commit
    except (_Overtaken, CommitRefused) as failure:
        withdraw_draft(repo, draft)
        if isinstance(failure, CommitRefused):
            raise
        raise BranchBusy(f"{repo.repo_id} was moved meanwhile. Ask again.") from None


def _lock(repo: Repo) -> Repo:
    """The row as it is now, in which nobody else moves a ref before this transaction ends.

    Raises RepoGone, and _Overtaken when the repo has another name now: the manifest lies under the old one.
    """
    locked = Repo.objects.select_for_update(of=("self",)).filter(pk=repo.pk).first()
    if locked is None:
        raise RepoGone(repo)
    if locked.repo_id != repo.repo_id:
        raise _Overtaken
    return locked


def move_branch(repo: Repo, branch: str, commit: Commit) -> None:
    """The branch names the commit. Inside a transaction."""
    move_ref(repo, Ref.Kind.BRANCH, branch, commit)


def move_ref(repo: Repo, kind: str, name: str, commit: Commit) -> None:
    """The ref names the commit; for the branch `main` so does the repo's head. Inside a transaction."""
    Ref.objects.update_or_create(repo=repo, kind=kind, name=name, defaults={"commit": commit})
    if (kind, name) == (Ref.Kind.BRANCH, DEFAULT):
        repo.head = commit
    repo.save(update_fields=["head", "updated_at"])


def note_commit(commit: Commit, by: str, agent: str = AGENT) -> None:
    """The event says who committed what, and the commit will be inspected. Inside a transaction."""
    name = f"{commit.repo.repo_id}@{commit.commit_hash[:8]}"
    Event.objects.create(
        type=Event.Type.INGESTION, agent=agent, repo=commit.repo, commit=commit,
        summary=f"{by} committed {name}: {commit.title}"[:500],
        detail={"by": by, "parents": commit.parents, "n_files": commit.n_files, "size_bytes": commit.size_bytes},
    )  # fmt: skip
    submit(
        "inspect", key=str(commit.pk), label=f"inspect {name}", params={"commit": commit.pk}, repo=commit.repo
    )


def _named(repo: Repo, kind: str, name: str) -> Commit | None:
    """What a ref names now."""
    ref = Ref.objects.filter(repo=repo, kind=kind, name=name).select_related("commit").first()
    return ref.commit if ref else None
