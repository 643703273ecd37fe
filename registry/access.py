"""Who may see and do what. A private repo is indistinguishable from an absent one."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet

from registry.models import File, Job, Lineage, Member, Organisation, Repo, Validation
from registry.models.repo import RepoQuerySet
from registry.models.validation import ValidationQuerySet

Somebody = User | AnonymousUser
ROLES = [Member.Role.READER, Member.Role.WRITER, Member.Role.OWNER]
"""Each may what those before it may, and more."""


def visible_repos(user: Somebody, repo_type: str = Repo.Type.MODEL) -> RepoQuerySet:
    """The repos that `user` may know of: public ones, and those of the user's organisations."""
    repos = Repo.objects.filter(repo_type=repo_type)
    if not user.is_authenticated:
        return repos.filter(private=False)
    if user.is_superuser:
        return repos
    mine = Member.objects.filter(user=user).values("organisation")
    return repos.filter(Q(private=False) | Q(organisation__in=mine))


def may_read_files(user: Somebody, repo: Repo) -> bool:
    """Whether `user`, who may know of the repo, may have its files.

    What is gated upstream needs an account here; what is gated here is for the members of its organisation.
    """
    if not repo.gated or repo.organisation_id is None or repo.upstream_id is not None:
        return not repo.gated or user.is_authenticated
    return _has_role(user, repo.organisation_id, Member.Role.READER)


def readable_repos(user: Somebody, repo_type: str = Repo.Type.MODEL) -> RepoQuerySet:
    """The repos whose files `user` may have: those that `may_read_files` lets through, as a query."""
    repos = visible_repos(user, repo_type)
    if not user.is_authenticated:
        return repos.filter(gated="")
    if user.is_superuser:
        return repos
    mine = Member.objects.filter(user=user).values("organisation")
    gated_elsewhere = Q(organisation=None) | Q(upstream__isnull=False)
    return repos.filter(Q(gated="") | gated_elsewhere | Q(organisation__in=mine))


def may_write(user: Somebody, repo: Repo) -> bool:
    """Whether `user` may commit to the repo: a writer or owner of its organisation. Mirrors are upstream's affair."""
    return repo.upstream_id is None and _has_role(user, repo.organisation_id, Member.Role.WRITER)


def may_offer(user: Somebody, repo: Repo) -> bool:
    """Whether `user`, who may know of the repo, may open a pull request: whoever has an account. Not of a mirror."""
    return repo.upstream_id is None and user.is_authenticated and may_read_files(user, repo)


def may_own(user: Somebody, repo: Repo) -> bool:
    """Whether `user` may rename, hide, gate or delete the repo: an owner of its organisation."""
    return _has_role(user, repo.organisation_id, Member.Role.OWNER)


def may_create_in(user: Somebody, organisation: Organisation) -> bool:
    """Whether `user` may make repos in that namespace."""
    return _has_role(user, organisation.pk, Member.Role.WRITER)


def _has_role(user: Somebody, organisation_id: int | None, least: Member.Role) -> bool:
    """One query. Superusers have every role everywhere."""
    if not user.is_authenticated:
        return False
    if user.is_superuser:
        return True
    enough = ROLES[ROLES.index(least) :]
    return Member.objects.filter(user=user, organisation=organisation_id, role__in=enough).exists()


def may_operate(user: Somebody) -> bool:
    """Whether `user` may start, retry and cancel jobs."""
    return user.is_authenticated and user.is_staff


def visible_jobs(user: Somebody) -> QuerySet[Job]:
    """Every job for those who operate; for others the jobs of repos that they may know of."""
    if may_operate(user):
        return Job.objects.all()
    repos = [visible_repos(user, repo_type).values("pk") for repo_type in Repo.Type]
    return Job.objects.filter(Q(repo__in=repos[0]) | Q(repo__in=repos[1]))


def visible_validations(user: Somebody) -> ValidationQuerySet:
    """Verdicts whose parent `user` may know of, on bytes that a repo holds, or gave rise to, that the user may see.

    A report names its parent, so a public file that was compared with a private one has no public report.
    """
    repos = visible_repos(user).values("pk")
    held = File.objects.filter(blob=OuterRef("blob"), commit__repo__in=repos)
    return Validation.objects.filter(
        Q(parent=None) | Q(parent__repo__in=repos), Exists(held) | Q(artifact__source__repo__in=repos)
    )


def known_parents(user: Somebody) -> Q:
    """The edges of a repo to its parents that `user` may know of: what a card declares is no secret of ours."""
    seen = Q(parent__in=visible_repos(user).values("pk"))
    return seen | Q(parent=None) | Q(evidence=Lineage.Evidence.DECLARED)


def visible_parents(user: Somebody, edges: QuerySet[Lineage], most: int) -> list[Lineage]:
    """The first `most` edges as `user` may see them: of a hidden parent only what the child's card says.

    Such an edge has no `parent`, exactly as if we did not hold it; what is not declared is left out. One query.
    """
    seen = Q(parent__in=visible_repos(user).values("pk"))
    rows = edges.filter(known_parents(user)).annotate(is_seen=ExpressionWrapper(seen, BooleanField()))
    found = rows.select_related("parent")[:most]
    for edge in found:
        edge.parent = edge.parent if edge.is_seen else None
    return list(found)
