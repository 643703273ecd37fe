"""What every page of a repo shares: the repo, the commit that is looked at, the head and the tabs."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.db.models import Count, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest

from registry.access import Somebody, known_parents, visible_repos, visible_validations
from registry.models import Artifact, Commit, Event, Lineage, Ref, Repo
from registry.revisions import DEFAULT, RevisionNotFound, resolve_revision
from registry.search import with_verdict

MOST_REFS = 100  # in the selector of revisions; all of them are on the page of commits


@dataclass(frozen=True)
class Frame:
    """A repo as somebody may see it, at one revision. `commit` is None while nothing is held."""

    repo: Repo
    revision: str
    commit: Commit | None
    refs: list[Ref]

    @property
    def base(self) -> str:
        return self.repo.get_absolute_url()

    @property
    def tree_at(self) -> str:
        """Where `?revision=` leads to the files at it."""
        return f"{self.base}/tree"

    @property
    def tree(self) -> str:
        return f"{self.tree_at}/{quote(self.revision, safe='')}"

    @property
    def blob(self) -> str:
        return f"{self.base}/blob/{quote(self.revision, safe='')}"

    @property
    def tensors_at(self) -> str:
        return f"{self.base}/tensors"

    @property
    def tensors(self) -> str:
        return f"{self.tensors_at}/{quote(self.revision, safe='')}"

    @property
    def overview(self) -> str:
        return self.base if self.is_main else f"{self.base}?revision={quote(self.revision, safe='')}"

    @property
    def is_named(self) -> bool:
        """Whether the shown revision is one of the refs in the selector."""
        return any(ref.name == self.revision for ref in self.refs)

    @property
    def n_edges(self) -> int:
        return int(self.repo.n_parents + self.repo.n_children)  # type: ignore[attr-defined]  # with_counts

    @property
    def n_artifacts(self) -> int:
        """What is judged here, made of it or published in it; and what others made of it that is judged."""
        counts = (
            getattr(self.repo, name) for name in ("n_judged", "n_published", "n_quants", "n_judged_files")
        )
        return sum(map(int, counts))  # from with_counts

    @property
    def short(self) -> str:
        return self.commit.commit_hash[:7] if self.commit else ""

    @property
    def is_main(self) -> bool:
        return self.commit is not None and self.commit.pk == self.repo.head_id

    def context(self, tab: str, **more: Any) -> dict[str, Any]:
        """What templates/catalog/_repo_head.html needs, and more."""
        return {
            "frame": self,
            "repo": self.repo,
            "commit": self.commit,
            "tab": tab,
            "section": "catalog",
        } | more


def open_repo(request: HttpRequest, namespace: str, name: str, revision: str = "") -> Frame:
    """The frame of a repo that this visitor may see. At most four queries.

    Raises Http404 for an absent repo, for a private one of somebody else, and for an unknown revision.
    """
    return _frame(find_repo(request.user, f"{namespace}/{name}"), revision)


def open_path(request: HttpRequest, namespace: str, name: str, rest: str) -> tuple[Frame, str]:
    """The frame, and a path in it, for URLs that end in `revision/path`. At most five queries; raises Http404."""
    refuse_nul(rest)
    repo = find_repo(request.user, f"{namespace}/{name}")
    revision, path = split_revision(repo, rest) if "/" in rest else (rest, "")
    return _frame(repo, revision), path


def refuse_nul(text: str) -> None:
    """Raises Http404 for a name that no row can have: PostgreSQL holds no NUL in a text."""
    if "\0" in text:
        raise Http404("There is nothing of that name.")


def _frame(repo: Repo, revision: str) -> Frame:
    refuse_nul(revision)
    if not revision:
        return Frame(repo, DEFAULT, repo.head, _refs(repo))
    try:
        return Frame(repo, revision, resolve_revision(repo, revision), _refs(repo))
    except RevisionNotFound as error:
        raise Http404(str(error)) from error


def find_repo(user: Somebody, repo_id: str) -> Repo:
    """The repo of that id, with verdict and counts for its tabs, in one query. Raises Http404."""
    refuse_nul(repo_id)
    repos = with_counts(with_verdict(visible_repos(user)), user).by_id(repo_id).with_head()
    repo: Repo | None = repos.first()
    if repo is None:
        raise Http404(f"There is no repo {repo_id} here, or you may not see it.")
    if repo.head is not None:
        repo.head.repo = repo
    return repo


def with_counts(repos: QuerySet[Repo], user: Somebody) -> Any:
    """Each repo with the numbers on its tabs, as subqueries of the one query. Hidden repos are not counted."""
    here, visible = OuterRef("pk"), visible_repos(user).values("pk")
    others = visible_validations(user).filter(artifact=None)
    return repos.annotate(
        n_commits=_number(Commit.objects.filter(repo=here), "repo"),
        n_parents=_number(Lineage.objects.filter(known_parents(user), child=here), "child", "parent_repo_id"),
        n_children=_number(Lineage.objects.filter(parent=here, child__in=visible), "parent", "child"),
        n_judged=_number(Artifact.objects.filter(source__repo=here), "source__repo"),
        n_published=_number(Artifact.objects.filter(published_in__repo=here), "published_in__repo"),
        n_quants=_number(others.filter(parent__repo=here), "parent__repo", "blob"),
        n_judged_files=_number(
            others.filter(blob__files__commit=OuterRef("head")), "blob__files__commit", "blob"
        ),
        n_events=_number(Event.objects.filter(repo=here), "repo"),
    )


def _number(rows: QuerySet[Any, Any], group: str, of: str = "pk") -> Coalesce:
    counted = rows.order_by().values(group).annotate(number=Count(of, distinct=of != "pk")).values("number")
    return Coalesce(Subquery(counted), Value(0))


def _refs(repo: Repo) -> list[Ref]:
    """Branches and tags; a pull request is looked at by its full name."""
    refs = Ref.objects.filter(repo=repo).exclude(kind=Ref.Kind.PULL_REQUEST)
    return list(refs.select_related("commit").order_by("kind", "name")[:MOST_REFS])


def split_revision(repo: Repo, rest: str) -> tuple[str, str]:
    """A revision and a path from `revision/path`, where both may hold slashes: the longest known ref wins.

    One query. A revision that is no ref is taken to be the first segment.
    """
    segments = [segment for segment in rest.split("/") if segment]
    known = _prefixes(segments)
    names = Ref.objects.filter(repo=repo, name__in=known.values()).values_list("name", flat=True)
    held = set(names)
    for length in sorted(known, reverse=True):
        if known[length] in held:
            return "/".join(segments[:length]), "/".join(segments[length:])
    return "".join(segments[:1]), "/".join(segments[1:])


def _prefixes(segments: list[str]) -> dict[int, str]:
    """How many segments -> the ref name they would be; `refs/heads/`, `refs/tags/` or `refs/pr/` may stand in front."""
    qualified = 2 if "/".join([*segments[:2], ""]) in Ref.FOLDERS.values() else 0
    most = min(len(segments), qualified + 8)
    return {length: "/".join(segments[qualified:length]) for length in range(qualified + 1, most + 1)}
