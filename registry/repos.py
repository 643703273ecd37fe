"""What its people do with a repo as a whole: make its row, change its settings.

Each verb is one transaction and leaves an Event. Whether somebody may is decided before, in registry/access.py.
"""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Lower

from registry.access import Somebody, visible_repos
from registry.models import Event, FormerName, Organisation, Repo
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


def new_repo(organisation: Organisation, name: str, *, repo_type: str, private: bool) -> Repo:
    """A repo that is not in the database yet. One query. Raises BadName and RepoExists."""
    if not is_sound(name):
        raise BadName(f"{name!r} cannot be the name of a repo: {RULE}.")
    repo_id = f"{organisation.name}/{name}"
    if found := _find(repo_type, repo_id):
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
        if found := _find(repo.repo_type, repo.repo_id):
            raise RepoExists(found) from None
        raise
    forget_former_name(repo.repo_type, repo.repo_id)
    Event.objects.create(
        type=Event.Type.INGESTION, agent=user.get_username(), repo=repo, summary=f"created {repo.repo_id}",
        detail={"repo_type": repo.repo_type, "private": repo.private},
    )  # fmt: skip


def _find(repo_type: str, repo_id: str) -> Repo | None:
    return Repo.objects.by_id(repo_id).filter(repo_type=repo_type).first()


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
