"""`/api/models/{repo}` and `/api/models`: one repo at one commit, and the list of those that match."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import F, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.asking import cursor, link_next, read_cursor, read_flag, read_limit
from mirror.hub.doors import door
from mirror.hub.entries import own_facts
from mirror.hub.errors import bad_request
from mirror.hub.filters import filtered
from mirror.hub.finding import find_commit, find_place, find_repo
from mirror.hub.listed import ListedRepo, read_listed
from mirror.hub.properties import only, read_expand
from mirror.hub.pulling import refresh_head
from registry.access import Somebody, visible_repos
from registry.models import Commit, File, Repo
from registry.models.repo import RepoQuerySet
from registry.prepared import Prepared
from registry.revisions import DEFAULT

PAGE = 1000
NEWEST = 500  # are looked through for a common word
PAGE_WITH_FILES = 100  # full=true lists the files of every repo
# Numbers we do not keep are 0 for every repo: sorted by them, the newest come first.
SORTS = {"lastModified": "modified", "last_modified": "modified", "createdAt": "created_at", "created_at": "created_at",
         "downloads": "", "likes": "", "trendingScore": "", "trending_score": "", "": ""}  # fmt: skip


@door("GET")
def repo_info(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str = ""
) -> HttpResponse:
    """What there is to know of a repo at a revision. At most 4 queries."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    expand = read_expand(request, repo_type)
    commit = find_place(request, repo, rest).commit if rest else _head(repo)
    info = wire.repo_info(repo, commit, _siblings(commit, with_blobs=read_flag(request, "blobs")))
    if read_flag(request, "securityStatus"):
        info["securityRepoStatus"] = wire.NOT_SCANNED
    return JsonResponse(only(info, expand), headers={"Vary": "Authorization, Cookie"})


@door("GET")
def list_repos(request: HttpRequest, user: Somebody, *, repo_type: str) -> HttpResponse:
    """One page of the repos that match every filter given, newest first unless sorted otherwise."""
    full, expand = read_flag(request, "full"), read_expand(request, repo_type)
    with_files = full or "siblings" in expand
    limit = read_limit(request, PAGE, PAGE_WITH_FILES if with_files else PAGE)
    limit = min(limit, PAGE_WITH_FILES) if with_files else limit
    field = _sort_field(request)
    held = visible_repos(user, repo_type).filter(head__isnull=False)
    page = _read_page(request, held, repo_type, field, limit + 1)
    keys = [pk for pk, *_ in page[:limit]]
    repos = read_listed(keys)
    shapes = _entries(request, repos, repo_type, full=full, expand=expand)
    if repo_type == Repo.Type.MODEL and read_flag(request, "holdfast"):
        told = own_facts(repos)
        shapes = [shape | {"holdfast": told[repo.pk]} for shape, repo in zip(shapes, repos, strict=True)]
    response = JsonResponse(shapes, safe=False, headers={"Vary": "Authorization, Cookie"})
    if len(page) > limit:
        link_next(request, response, cursor=cursor(_position(*page[limit - 1])))
    return response


def _read_page(
    request: HttpRequest, held: RepoQuerySet, repo_type: str, field: str, count: int
) -> list[tuple[Any, ...]]:
    """(key, and what it is sorted by) of the next repos that match.

    One query, or two for words: a common one is soon met among the newest repos, and the index would name every
    repo there is with it. No planner can know which word is common.
    """
    place = read_cursor(request)
    columns = ["pk", *filter(None, [field])]
    if request.GET.get("search") and not field and connection.vendor == "postgresql":
        oldest = _behind(held, field, place).values("pk")[NEWEST : NEWEST + 1]
        newest = held.filter(pk__gt=Subquery(oldest))
        found = _behind(filtered(request, newest, repo_type, by_index=False), field, place)
        rows = list(found.values_list(*columns)[:count])
        if len(rows) == count:
            return rows
    return list(_behind(filtered(request, held, repo_type), field, place).values_list(*columns)[:count])


def _head(repo: Repo) -> Commit:
    """What a repo is without further words: `main`, or, where only another branch or tag is held, that."""
    return refresh_head(repo) or find_commit(repo, DEFAULT)


def _siblings(commit: Commit, *, with_blobs: bool) -> list[wire.Json]:
    if with_blobs:
        return [wire.sibling_with_blob(file) for file in _files_in(commit=commit.pk)]
    return [wire.sibling(path) for path in _paths_in(commit=commit.pk)]


_files_in: Prepared[File] = Prepared(
    lambda commit: File.objects.filter(commit=commit).order_by("path"), commit=int
)
_paths_in: Prepared[str] = Prepared(
    lambda commit: File.objects.filter(commit=commit).order_by("path").values_list("path", flat=True),
    commit=int,
)


def _entries(
    request: HttpRequest, repos: list[ListedRepo], repo_type: str, *, full: bool, expand: list[str]
) -> list[wire.Json]:
    """What the list says of each. One query for the names of their files, where those are wanted."""
    wanted = wire.LIGHT | ({"sha", "siblings"} if full else set())
    wanted |= {name for name in ("cardData", "config") if read_flag(request, name)}
    if full and repo_type == Repo.Type.DATASET:
        wanted |= {"cardData"}
    paths = _paths_of(repos) if full or "siblings" in expand else {}
    shapes = []
    for repo in repos:
        siblings = [wire.sibling(path) for path in paths[repo.pk]] if paths else None
        info = wire.repo_info(repo, repo.head, siblings)
        light = {name: value for name, value in info.items() if name in wanted}
        shapes.append(only(info, expand) if expand else light)
    return shapes


def _paths_of(repos: list[ListedRepo]) -> dict[int, list[str]]:
    """{repo: the paths of its head}. One query."""
    found: dict[int, list[str]] = {repo.pk: [] for repo in repos}
    files = File.objects.filter(commit__in=[repo.head_id for repo in repos]).order_by("path")
    for repo_pk, path in files.values_list("commit__repo_id", "path"):
        found[repo_pk].append(path)
    return found


def _sort_field(request: HttpRequest) -> str:
    name = request.GET.get("sort", "")
    if name not in SORTS:
        raise bad_request(f"sort={name} is unknown; there are {', '.join(filter(None, SORTS))}.")
    return SORTS[name]


def _behind(repos: QuerySet[Repo], field: str, place: str) -> QuerySet[Repo]:
    """The repos in descending order that come after the place a cursor names: never skips or repeats one."""
    if field == "modified":
        repos = repos.annotate(modified=Coalesce("head__committed_at", "head__recorded_at"))
    value, _, pk = place.rpartition("|")
    if place:
        repos = repos.filter(_is_behind(field, value, pk))
    return repos.order_by(*([F(field).desc()] if field else []), "-pk")


def _is_behind(field: str, value: str, pk: str) -> Q:
    try:
        number = int(pk)
        when = datetime.fromisoformat(value).astimezone(UTC) if field else None
    except (ValueError, OverflowError):
        raise bad_request("this cursor is not one that we gave; begin again without it.") from None
    same = Q(pk__lt=number)
    return Q(**{f"{field}__lt": when}) | (Q(**{field: when}) & same) if field else same


def _position(pk: int, value: datetime | None = None) -> str:
    return f"{value.isoformat() if value else ''}|{pk}"
