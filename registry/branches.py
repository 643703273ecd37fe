"""What people do with the refs of a repo: branches and tags, made, moved and deleted.

Each verb is one transaction that locks the repo, and leaves an Event. Commits stay when the ref that named them goes:
they can still be had by their hash. Whether somebody may is decided before, in registry/access.py.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from registry.models import Commit, Event, Ref, Repo
from registry.revisions import DEFAULT, resolve_revision

LONGEST_NAME = 250
LONGEST_MESSAGE = 10_000
# What `git check-ref-format` refuses, and what could be mistaken for a hash or for a full name.
_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|^[/.-]|[/.]$|^@$|^refs(?:/|$)")
_HASH = re.compile(r"[0-9a-f]{40}")


class BadRefName(Exception):
    """No branch or tag can be called that."""

    code = "bad-ref-name"

    def __init__(self, kind: str, name: str) -> None:
        # The first words are the hub's own; clients compare them.
        super().__init__(
            f"Invalid reference for a {kind}: {name[:LONGEST_NAME]!r}. Names follow the rules of git, do not begin "
            f"with refs/, are no commit hash and have at most {LONGEST_NAME} letters."
        )
        self.kind, self.name = kind, name


class RefExists(Exception):
    """There is such a branch or tag already, or one that git could not keep beside it."""

    code = "ref-exists"

    def __init__(self, ref: Ref, wanted: str) -> None:
        message = f"Reference {ref.full_name} already exists"
        if wanted != ref.name:
            message += f", and git keeps no ref {wanted!r} beside it: one name would be a folder of the other"
        super().__init__(f"{message}.")
        self.ref = ref


class RefMissing(Exception):
    """There is no such branch or tag."""

    code = "ref-missing"

    def __init__(self, repo: Repo, full_name: str) -> None:
        super().__init__(f"Invalid rev id: {full_name}. {repo.repo_id} has no such ref.")
        self.repo, self.full_name = repo, full_name


class RefProtected(Exception):
    """`main` is what a repo is without further words."""

    code = "ref-protected"

    def __init__(self, ref: str) -> None:
        super().__init__(f"Cannot delete {ref}: it is what the repo is without further words.")


def create_branch(
    user: User, repo: Repo, name: str, *, start: str = DEFAULT, overwrite: bool = False
) -> None:
    """The branch names the commit that `start` means. With `overwrite` one that is there already is moved.

    Raises BadRefName, RefExists and RevisionNotFound.
    """
    with _locked(repo) as locked:
        commit = resolve_revision(locked, start)
        check_ref_name(Ref.Kind.BRANCH, name)
        point_branch(user, locked, name, commit, overwrite=overwrite)


def point_branch(user: User, repo: Repo, name: str, commit: Commit, *, overwrite: bool = False) -> None:
    """The branch names that commit, and the event says so. Inside a transaction that locks the repo."""
    refuse_taken(repo, Ref.Kind.BRANCH, name, overwrite=overwrite)
    ref, is_new = Ref.objects.update_or_create(
        repo=repo, kind=Ref.Kind.BRANCH, name=name, defaults={"commit": commit}
    )
    if name == DEFAULT:
        repo.head = commit
        repo.save(update_fields=["head", "updated_at"])
    _note(user, repo, f"{'made' if is_new else 'moved'} {ref.full_name}", ref)


def create_tag(user: User, repo: Repo, name: str, *, revision: str = DEFAULT, message: str = "") -> None:
    """The tag names the commit that `revision` means; what it says is kept in the event.

    Raises BadRefName, RefExists and RevisionNotFound.
    """
    with _locked(repo) as locked:
        commit = resolve_revision(locked, revision)
        check_ref_name(Ref.Kind.TAG, name)
        refuse_taken(locked, Ref.Kind.TAG, name)
        ref = Ref.objects.create(repo=locked, kind=Ref.Kind.TAG, name=name, commit=commit)
        _note(user, locked, f"made {ref.full_name}", ref, **({"message": message} if message else {}))


def delete_branch(user: User, repo: Repo, name: str) -> None:
    """The branch is gone; its commits stay. Raises RefProtected for `main`, and RefMissing."""
    if name == DEFAULT:
        raise RefProtected(Ref.FOLDERS[Ref.Kind.BRANCH] + name)
    _delete(user, repo, Ref.Kind.BRANCH, name)


def delete_tag(user: User, repo: Repo, name: str) -> None:
    """The tag is gone; its commit stays. Raises RefMissing."""
    _delete(user, repo, Ref.Kind.TAG, name)


def check_ref_name(kind: Ref.Kind, name: str) -> None:
    """Raises BadRefName unless git, and everybody who reads a revision, can tell what the name means."""
    parts = not name or len(name) > LONGEST_NAME or _REFUSED.search(name) or _HASH.fullmatch(name)
    if parts or not name.isprintable():
        raise BadRefName(kind.label, name)


def refuse_taken(repo: Repo, kind: Ref.Kind, name: str, *, overwrite: bool = False) -> None:
    """Raises RefExists when git could not keep a new ref of that name beside those there are. One query."""
    parents = [name[: at.start()] for at in re.finditer("/", name)]
    near = Q(name__in=[*parents, name]) | Q(name__startswith=f"{name}/")
    for ref in Ref.objects.filter(near, repo=repo, kind=kind).order_by("name"):
        # Compared again: SQLite takes `A/` for the start of `a/b`.
        is_beside = ref.name in parents or ref.name.startswith(f"{name}/")
        if is_beside or (ref.name == name and not overwrite):
            raise RefExists(ref, name)


@contextmanager
def _locked(repo: Repo) -> Iterator[Repo]:
    """A transaction in which nobody else moves a ref of the repo."""
    with transaction.atomic():
        yield Repo.objects.select_for_update(of=("self",)).get(pk=repo.pk)


def _delete(user: User, repo: Repo, kind: Ref.Kind, name: str) -> None:
    with _locked(repo) as locked:
        ref = Ref.objects.filter(repo=locked, kind=kind, name=name).select_related("commit").first()
        if ref is None:
            raise RefMissing(repo, Ref.FOLDERS[kind] + name)
        _note(user, locked, f"deleted {ref.full_name}", ref)
        ref.delete()


def _note(user: User, repo: Repo, what: str, ref: Ref, **detail: str) -> None:
    is_gone = what.startswith("deleted")
    Event.objects.create(
        type=Event.Type.DELETION if is_gone else Event.Type.METADATA,
        agent=user.get_username(), repo=repo, commit=ref.commit,
        summary=f"{what} of {repo.repo_id} at {ref.commit.commit_hash[:8]}"[:500],
        detail={"ref": ref.full_name, "commit": ref.commit.commit_hash} | detail,
    )  # fmt: skip
