"""`/discussions`: pull requests as clients open, list, close and merge them. Plain discussions are not kept."""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.committing import BranchBusy, CommitRefused
from mirror.hub.asking import read_page_number
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request
from mirror.hub.finding import find_repo
from mirror.hub.manage import repo_url
from mirror.hub.verbs import check_may_write, read_name, read_object, refusals
from mirror.hub.wire import Json, date
from mirror.offering import (
    AGENT,
    MergeConflict,
    NotOpen,
    change_status,
    conflicts_of,
    merge,
    open_pull_request,
    rename,
)
from registry.access import Somebody, may_offer
from registry.models import Event, PullRequest, Repo

PAGE = 50
STATUSES: dict[type[CommitRefused], int] = {MergeConflict: 409, NotOpen: 409, BranchBusy: 503}
OPEN = (PullRequest.Status.DRAFT, PullRequest.Status.OPEN)
KINDS = {"comment": "comment", "status": "status-change", "title": "title-change"}


@door("GET", "POST")
def pull_requests(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """GET: one page, newest first. POST: a new draft, whose ref names what `main` names now."""
    if request.method == "POST":
        return _open(request, user, repo_type, f"{namespace}/{name}")
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    rows, page = _wanted(request, repo), read_page_number(request)
    start = page * PAGE
    shown = rows.select_related("author")[start : start + PAGE]
    return JsonResponse(
        {"discussions": [_brief(one, repo) for one in shown], "count": rows.count(), "start": start}
    )


@door("GET")
def show(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, number: int
) -> HttpResponse:
    """One pull request with what happened to it, and the files in conflict with its branch."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    one = _find(repo, number)
    changes = {"base": f"refs/heads/{one.base}"} | (
        {"mergeCommitId": one.merge_commit} if one.merge_commit else {}
    )
    conflicts = conflicts_of(one) if one.status in OPEN else []
    told = _brief(one, repo) | {"changes": changes, "filesWithConflicts": conflicts, "events": _events(one)}
    return JsonResponse(told)


@door("POST")
def change(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, number: int, verb: str
) -> HttpResponse:
    """`status` and `title`, by its author or who may write to the repo; `merge`, by the latter."""
    writer = writer_of(request)
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    one = _find(repo, number)
    act = VERBS.get(verb)
    if act is None:
        raise HubError(404, f"There is no {verb} of a pull request here: {', '.join(sorted(VERBS))}.")
    if verb == "merge" or one.author_id != writer.pk:
        check_may_write(writer, repo)
    asked = read_object(request) if request.body else {}
    with refusals():
        try:
            return act(writer, one, asked)
        except CommitRefused as error:
            raise HubError(STATUSES.get(type(error), 400), str(error)) from None


def _open(request: HttpRequest, user: Somebody, repo_type: str, repo_id: str) -> HttpResponse:
    writer = writer_of(request)
    repo = find_repo(request, user, repo_type, repo_id)
    if not may_offer(writer, repo):
        check_may_write(writer, repo)
    asked = read_object(request)
    if asked.get("pullRequest") is not True:
        raise HubError(501, "Only pull requests are kept here, not discussions: send `pullRequest: true`.")
    title, description = read_name(asked, "title"), asked.get("description", "")
    if not title.strip() or not isinstance(description, str):
        raise bad_request("`title` must say something, and `description` must be a text.")
    with refusals():
        one = open_pull_request(writer, repo, title, description)
    told = {
        "num": one.number,
        "url": f"{repo_url(request, repo)}/discussions/{one.number}",
        "pullRequest": True,
    }
    return JsonResponse(told)


def _status(writer: User, one: PullRequest, asked: Json) -> HttpResponse:
    status = asked.get("status")
    if status not in ("open", "closed"):
        raise bad_request("`status` must be open or closed.")
    event = change_status(writer, one, status, comment=_comment(asked))
    return JsonResponse({"newStatus": _event(event, writer)})


def _title(writer: User, one: PullRequest, asked: Json) -> HttpResponse:
    event = rename(writer, one, read_name(asked, "title"))
    return JsonResponse({"newTitle": _event(event, writer)})


def _merge(writer: User, one: PullRequest, asked: Json) -> HttpResponse:
    commit = merge(writer, one, comment=_comment(asked))
    return JsonResponse({"success": True, "mergeCommitId": commit.commit_hash})


VERBS = {"status": _status, "title": _title, "merge": _merge}


def _comment(asked: Json) -> str:
    comment = asked.get("comment", "")
    if not isinstance(comment, str):
        raise bad_request("`comment` must be a text.")
    return comment.replace("\0", "")


def _find(repo: Repo, number: int) -> PullRequest:
    one = PullRequest.objects.filter(repo=repo, number=number).select_related("author", "repo").first()
    if one is None:
        raise HubError(404, f"{repo.repo_id} has no pull request {number}.")
    return one


def _wanted(request: HttpRequest, repo: Repo) -> QuerySet[PullRequest]:
    rows = PullRequest.objects.filter(repo=repo).order_by("-number")
    if request.GET.get("type", "all") == "discussion":
        rows = rows.none()
    if author := request.GET.get("author", ""):
        rows = rows.none() if "\0" in author else rows.filter(author__username=author)
    status = request.GET.get("status", "all")
    if status == "open":
        return rows.filter(status__in=OPEN)
    return rows.exclude(status__in=OPEN) if status == "closed" else rows


def _brief(one: PullRequest, repo: Repo) -> Json:
    return {
        "num": one.number, "title": one.title, "status": one.status, "isPullRequest": True,
        "createdAt": date(one.created_at), "author": _author(one.author),
        "repo": {"name": repo.repo_id, "type": repo.repo_type},
    }  # fmt: skip


def _author(user: User | None) -> Json:
    return {"name": user.get_username() if user else "deleted", "type": "user"}


def _events(one: PullRequest) -> list[Json]:
    """The description as the first comment, then what happened. One query."""
    first: Json = {
        "id": f"d{one.pk:023x}", "type": "comment", "createdAt": date(one.created_at), "author": _author(one.author),
        "data": {"edited": False, "hidden": False, "latest": {"raw": one.description}},
    }  # fmt: skip
    rows = Event.objects.filter(repo=one.repo_id, agent=AGENT, detail__number=one.number).order_by("pk")
    return [first, *(_event(row, row.detail["by"]) for row in rows)]


def _event(row: Event, by: Any) -> Json:
    detail = row.detail
    kind, data = KINDS.get(detail["what"], "comment"), detail["data"]
    return {
        "id": f"e{row.pk:023x}", "type": kind, "createdAt": date(row.happened_at),
        "author": {"name": str(by), "type": "user"}, "data": data,
    }  # fmt: skip
