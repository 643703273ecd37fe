"""Who may see and do what. A private repo is indistinguishable from an absent one."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q

from registry.models import Member, Repo
from registry.models.repo import RepoQuerySet

Somebody = User | AnonymousUser


def visible_repos(user: Somebody, repo_type: str = Repo.Type.MODEL) -> RepoQuerySet:
    """The repos that `user` may know of: public ones, and those of the user's organisations."""
    repos = Repo.objects.filter(repo_type=repo_type)
    if not user.is_authenticated:
        return repos.filter(private=False)
    if user.is_superuser:
        return repos
    mine = Member.objects.filter(user=user).values("organisation")
    return repos.filter(Q(private=False) | Q(organisation__in=mine))


def may_operate(user: Somebody) -> bool:
    """Whether `user` may start, retry and cancel jobs."""
    return user.is_authenticated and user.is_staff
