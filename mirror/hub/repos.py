"""`/api/models/{repo}` and `/api/models`: one repo at one commit, and the list of those that match."""

import json
import re
from datetime import UTC, datetime

from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.asking import cursor, link_next, read_cursor, read_flag, read_limit, read_values
from mirror.hub.doors import door
from mirror.hub.errors import bad_request
from mirror.hub.finding import find_commit, find_place, find_repo
from mirror.hub.pulling import refresh_head
from registry.access import Somebody, visible_repos
from registry.models import Commit, File, Repo
from registry.revisions import DEFAULT

PAGE = 1000
PAGE_WITH_FILES = 100  # full=true lists the files of every repo
MOST_FILTERS = 20
# Numbers we do not keep are 0 for every repo: sorted by them, the newest come first.
SORTS = {"lastModified": "modified", "last_modified": "modified", "createdAt": "created_at", "created_at": "created_at",
         "downloads": "", "likes": "", "trendingScore": "", "trending_score": "", "": ""}  # fmt: skip
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_PARAMETERS = re.compile(r"(min|max):(\d{1,9}(?:\.\d{1,9})?)([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@door("GET")
def repo_info(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str = ""
) -> HttpResponse:
    """What there is to know of a repo at a revision. At most 4 queries."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    commit = find_place(request, repo, rest).commit if rest else _head(repo)
    info = wire.repo_info(repo, commit, _siblings(commit, with_blobs=read_flag(request, "blobs")))
    return JsonResponse(
        _only(info, read_values(request, "expand")), headers={"Vary": "Authorization, Cookie"}
    )


@door("GET")
def list_repos(request: HttpRequest, user: Somebody, *, repo_type: str) -> HttpResponse:
    """One page of the repos that match every filter given, newest first unless sorted otherwise."""
    full, expand = read_flag(request, "full"), read_values(request, "expand")
    with_files = full or "siblings" in expand
    limit = read_limit(request, PAGE, PAGE_WITH_FILES if with_files else PAGE)
    limit = min(limit, PAGE_WITH_FILES) if with_files else limit
    field = _sort_field(request)
    repos = _filtered(request, visible_repos(user, repo_type).filter(head__isnull=False).with_head())
    rows = list(_behind(repos, field, read_cursor(request))[: limit + 1])
    paths = _paths_of(rows[:limit]) if with_files else {}
    shapes = [_entry(request, repo, paths, full=full, expand=expand) for repo in rows[:limit]]
    response = JsonResponse(shapes, safe=False, headers={"Vary": "Authorization, Cookie"})
    if len(rows) > limit:
        link_next(request, response, cursor=cursor(_position(rows[limit - 1], field)))
    return response


def _head(repo: Repo) -> Commit:
    """What a repo is without further words: `main`, or, where only another branch or tag is held, that."""
    return refresh_head(repo) or find_commit(repo, DEFAULT)


def _siblings(commit: Commit, *, with_blobs: bool) -> list[wire.Json]:
    files = File.objects.filter(commit=commit).order_by("path")
    if with_blobs:
        return [wire.sibling_with_blob(file) for file in files.select_related("blob")]
    return [wire.sibling(path) for path in files.values_list("path", flat=True)]


def _only(info: wire.Json, expand: list[str]) -> wire.Json:
    """With `expand` exactly what was asked for, and the id. What we do not know of is left out."""
    if not expand:
        return info
    return {name: value for name, value in info.items() if name in {"_id", "id", *expand}}


def _entry(
    request: HttpRequest, repo: Repo, paths: dict[int, list[str]], *, full: bool, expand: list[str]
) -> wire.Json:
    siblings = [wire.sibling(path) for path in paths.get(repo.pk, [])] if paths or full else None
    info = wire.repo_info(repo, repo.head, siblings)
    if expand:
        return _only(info, expand)
    wanted = wire.LIGHT | ({"sha", "siblings"} if full else set())
    wanted |= {name for name in ("cardData", "config") if read_flag(request, name)}
    return {name: value for name, value in info.items() if name in wanted}


def _paths_of(repos: list[Repo]) -> dict[int, list[str]]:
    """{repo: the paths of its head}. One query."""
    found: dict[int, list[str]] = {repo.pk: [] for repo in repos}
    files = File.objects.filter(commit__in=[repo.head_id for repo in repos]).order_by("path")
    for repo_pk, path in files.values_list("commit__repo_id", "path"):
        found[repo_pk].append(path)
    return found


def _filtered(request: HttpRequest, repos: QuerySet[Repo]) -> QuerySet[Repo]:
    query = request.GET
    if any("\0" in value for _, values in query.lists() for value in values):
        raise bad_request("the query holds a NUL character.")
    for word in query.get("search", "").split()[:MOST_FILTERS]:
        repos = repos.filter(repo_id__icontains=word)
    if author := query.get("author"):
        repos = repos.filter(namespace__iexact=author)
    if task := query.get("pipeline_tag"):
        repos = repos.filter(head__pipeline_tag=task)
    if library := query.get("library"):
        repos = repos.filter(head__library_name=library)
    if query.get("gated"):
        repos = repos.exclude(gated="") if read_flag(request, "gated") else repos.filter(gated="")
    repos = _with_tags(
        repos, [tag for tags in read_values(request, "filter") for tag in tags.split(",") if tag]
    )
    return _with_parameters(repos, query.get("num_parameters", ""))


def _with_tags(repos: QuerySet[Repo], wanted: list[str]) -> QuerySet[Repo]:
    """Those that have every tag. Tags and cards are JSON, which SQLite cannot look into: compared as text."""
    if wanted:
        text = {
            "tags_text": Cast("head__tags", TextField()),
            "card_text": Cast("head__card_data", TextField()),
        }
        repos = repos.annotate(**text)
    for tag in wanted[:MOST_FILTERS]:
        repos = repos.filter(_has_tag(tag.strip()))
    return repos


def _has_tag(tag: str) -> Q:
    """Whether `wire.tags` names it."""
    kind, _, value = tag.partition(":")
    if kind == "license" and value:
        return Q(head__license__iexact=value)
    if tag == "region:us":
        return Q()
    ways = Q(head__pipeline_tag=tag) | Q(head__library_name=tag) | _in_json("tags_text", tag)
    if kind in ("base_model", "dataset") and value:
        ways |= _in_json("card_text", value)
    return ways | _in_json("card_text", tag) if _LANGUAGE.fullmatch(tag) else ways


def _in_json(field: str, value: str) -> Q:
    """PostgreSQL shows letters beyond ASCII as they are, SQLite as they were escaped."""
    plain, escaped = json.dumps(value, ensure_ascii=False), json.dumps(value)
    return Q(**{f"{field}__icontains": plain}) | Q(**{f"{field}__icontains": escaped})


def _with_parameters(repos: QuerySet[Repo], text: str) -> QuerySet[Repo]:
    """`min:6B,max:128B`: repos of that many parameters."""
    for part in filter(None, text.split(",")):
        match = _PARAMETERS.fullmatch(part.strip())
        if match is None:
            raise bad_request(f"num_parameters={text} is not of the form min:6B,max:128B.")
        bound, number, unit = match.groups()
        count = int(float(number) * _UNITS[unit.upper()])
        repos = repos.filter(**{f"head__parameter_count__{'gte' if bound == 'min' else 'lte'}": count})
    return repos


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


def _position(repo: Repo, field: str) -> str:
    value = getattr(repo, field).isoformat() if field else ""
    return f"{value}|{repo.pk}"
