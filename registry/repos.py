"""What its people do with the row of a repo: make it, rename it, change its settings.

Each verb is one transaction and leaves an Event. Whether somebody may is decided before, in registry/access.py.
"""

from collections.abc import Mapping

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Lower

from registry.access import Somebody, visible_repos
from registry.models import Event, FormerName, Lineage, Organisation, Repo
from registry.namespaces import RULE, BadName, is_sound


class RepoExists(Exception):
    """There is a repo of that name and type already."""

    code = "repo-exists"

    def __init__(self, repo: Repo) -> None:
        kind = repo.repo_type
        super().__init__(
            f"A {kind} repository called {repo.repo_id!r} already exists. Choose another name, or use the one there is."
        )
        self.repo = repo


def new_repo(
    organisation: Organisation, name: str, *, repo_type: str, private: bool, instead_of: Repo | None = None
) -> Repo:
    """A repo that is not in the database, with a name that is free or that of `instead_of` in other letters.

    One query. Raises BadName and RepoExists.
    """
    if not is_sound(name):
        raise BadName(f"{name!r} cannot be the name of a repo: {RULE}.")
    repo_id = f"{organisation.name}/{name}"
    found = find_any(repo_type, repo_id)
    if found and found != instead_of:
        raise RepoExists(found)
    return Repo(
        repo_id=repo_id, namespace=organisation.name, name=name, repo_type=repo_type, private=private,
        organisation=organisation,
    )  # fmt: skip


def add_repo(repo: Repo, user: User) -> None:
    """The row of a new repo, which has no commit yet; an older one that was once called so gives up that name.

    Inside the transaction that records the first commit. Raises RepoExists.
    """
    try:
        with transaction.atomic():
            repo.save(force_insert=True)
    except IntegrityError:  # somebody made it at this very moment
        if found := find_any(repo.repo_type, repo.repo_id):
            raise RepoExists(found) from None
        raise
    forget_former_name(repo.repo_type, repo.repo_id)
    Event.objects.create(
        type=Event.Type.INGESTION, agent=user.get_username(), repo=repo, summary=f"created {repo.repo_id}",
        detail={"repo_type": repo.repo_type, "private": repo.private},
    )  # fmt: skip


def find_any(repo_type: str, repo_id: str) -> Repo | None:
    """The repo of that id, whoever may see it. One query."""
    return Repo.objects.by_id(repo_id).filter(repo_type=repo_type).first()


def rename(user: User, repo: Repo, goal: Repo, *, manifests: list[str]) -> None:
    """The repo is called as the goal is; its old name leads to it, and lineage that we vouch for has the new one.

    Inside a transaction that locks the repo. The event names the manifests under the old name: they are to go.
    """
    old_id, new_id = repo.repo_id, goal.repo_id
    repo.repo_id, repo.namespace, repo.name = new_id, goal.namespace, goal.name
    repo.organisation = goal.organisation
    repo.save(update_fields=["repo_id", "namespace", "name", "organisation", "updated_at"])
    forget_former_name(repo.repo_type, new_id)
    if old_id.lower() != new_id.lower():
        forget_former_name(repo.repo_type, old_id)
        FormerName.objects.create(repo=repo, repo_type=repo.repo_type, old_repo_id=old_id)
    made = Lineage.objects.filter(parent=repo, evidence=Lineage.Evidence.MADE_HERE)
    known = Lineage.objects.filter(parent_repo_id=new_id, evidence=Lineage.Evidence.MADE_HERE)
    made.exclude(child__in=known.values("child")).update(parent_repo_id=new_id)
    Event.objects.create(
        type=Event.Type.METADATA, agent=user.get_username(), repo=repo, summary=f"moved {old_id} to {new_id}",
        detail={"from": old_id, "to": new_id, "manifests": manifests},
    )  # fmt: skip


def change_settings(user: User, repo: Repo, *, private: bool | None = None, gated: str | None = None) -> Repo:
    """The repo is private, or gated (`auto`, `manual`, or "" for not), as is said; None leaves it as it is.

    What was made here of a repo that is hidden or gated is so with it. Opening it again opens nothing else.
    """
    wanted = {"private": private, "gated": gated}
    with transaction.atomic():
        locked = Repo.objects.select_for_update(of=("self",)).get(pk=repo.pk)
        changes = {name: to for name, to in wanted.items() if to is not None and to != getattr(locked, name)}
        if changes:
            _change(user, locked, changes)
        if closed := {name: to for name, to in changes.items() if to}:
            for made in _made_of(locked):
                if news := {name: to for name, to in closed.items() if not getattr(made, name)}:
                    _change(user, made, news)
    return locked


def _made_of(repo: Repo) -> QuerySet[Repo]:
    edges = Lineage.objects.filter(parent=repo, evidence=Lineage.Evidence.MADE_HERE)
    return Repo.objects.filter(pk__in=edges.values("child"), upstream=None)


def _change(user: User, repo: Repo, changes: Mapping[str, bool | str]) -> None:
    for name, value in changes.items():
        setattr(repo, name, value)
    repo.save(update_fields=[*changes, "updated_at"])
    told = ", ".join(f"{name}: {value or 'no'}" for name, value in changes.items())
    Event.objects.create(
        type=Event.Type.METADATA, agent=user.get_username(), repo=repo,
        summary=f"changed the settings of {repo.repo_id}: {told}", detail=changes,
    )  # fmt: skip


def find_moved(user: Somebody, repo_type: str, repo_id: str) -> Repo | None:
    """The repo that was called so before it was moved, if `user` may know of it. One query."""
    if "\0" in repo_id:
        return None
    former = FormerName.objects.alias(lower=Lower("old_repo_id")).filter(
        repo_type=repo_type, lower=repo_id.lower()
    )
    return visible_repos(user, repo_type).filter(pk__in=former.values("repo")).first()


def forget_former_name(repo_type: str, repo_id: str) -> None:
    """No moved repo answers to that name any more: one that is really called so does."""
    former = FormerName.objects.alias(lower=Lower("old_repo_id"))
    former.filter(repo_type=repo_type, lower=repo_id.lower()).delete()
