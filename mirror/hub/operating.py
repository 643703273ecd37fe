"""Work that operators ask for over the API: what `manage.py mirror` and `manage.py convert` do with --enqueue.

POST mirrors                             keeps a repo as upstream has it: 202 and the job
GET  mirrors                             the repos that came from an upstream, and how that is
POST convert                             makes artifacts of a commit: 202 and the job (registry/urls.py)
"""

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub.asking import cursor, link_next, read_cursor, read_limit
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request
from mirror.hub.knowledge import upstream_json
from mirror.hub.own import job_json
from mirror.hub.verbs import read_object
from mirror.sync import submit_mirror
from mirror.upstream import parse_upstream_ref
from mirror.upstream.base import BadUpstreamRef
from registry.access import Somebody, may_operate, visible_repos
from registry.asked import AskedWrongly, read_text, refuse_others
from registry.models import Job, Repo

PAGE, MOST_PAGE = 100, 1000
FIELDS = frozenset({"upstream", "as"})
_REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")

Submit = Callable[[User, dict[str, Any]], Job]


@door("GET", "POST")
def mirrors(request: HttpRequest, user: Somebody) -> HttpResponse:
    """What is mirrored here; POST, by an operator's token that may write, mirrors one more repo. Idempotent."""
    return answer_with_job(request, _submit_mirror) if request.method == "POST" else _list(request, user)


def answer_with_job(request: HttpRequest, submit: Submit) -> HttpResponse:
    """202 and the job that `submit` makes of the body, for who operates this registry."""
    operator = writer_of(request)
    if not may_operate(operator):
        raise HubError(403, f"{operator.username} does not operate this registry: that is for its staff.")
    try:
        job = submit(operator, read_object(request))
    except AskedWrongly as error:
        raise HubError(error.status, error.message, code=error.code) from error
    response = JsonResponse(job_json(job, operator), status=202, headers={"Cache-Control": "no-store"})
    response["Location"] = request.build_absolute_uri(f"/api/holdfast/v1/jobs/{job.pk}")
    return response


def _submit_mirror(operator: User, asked: dict[str, Any]) -> Job:
    refuse_others(asked, FIELDS)
    text, repo_id = read_text(asked, "upstream"), read_text(asked, "as")
    if text.startswith("dir:"):
        raise AskedWrongly("folders of the server are mirrored by `manage.py mirror`, not over the API.")
    if repo_id and not _REPO_ID.fullmatch(repo_id):
        raise AskedWrongly(f"`as` is {repo_id!r:.100}, which is not a name like org/name.")
    try:
        ref = parse_upstream_ref(text, hub_endpoint=settings.HOLDFAST_HUB_ENDPOINT)
    except BadUpstreamRef as error:
        raise AskedWrongly(str(error)) from error
    return submit_mirror(ref, repo_id=repo_id, created_by=operator.username)


def _list(request: HttpRequest, user: Somebody) -> HttpResponse:
    """One page of the mirrored models that the caller may see, in the order in which they came. One query."""
    repos = visible_repos(user).filter(upstream__isnull=False).with_head().order_by("pk")
    if after := read_cursor(request):
        if not after.isascii() or not after.isdecimal() or len(after) > 18:
            raise bad_request("this cursor is not one that we gave; begin again without it.")
        repos = repos.filter(pk__gt=int(after))
    limit = read_limit(request, PAGE, MOST_PAGE)
    rows = list(repos[: limit + 1])
    headers = {"Cache-Control": "no-store", "Vary": "Authorization, Cookie"}
    response = JsonResponse([_mirror(repo) for repo in rows[:limit]], safe=False, headers=headers)
    if len(rows) > limit:
        link_next(request, response, cursor=cursor(str(rows[limit - 1].pk)))
    return response


def _mirror(repo: Repo) -> dict[str, Any]:
    head = repo.head
    return {
        "repo_id": repo.repo_id,
        "commit": head.commit_hash if head else None,
        "is_complete": bool(head and head.is_complete),
        "size_bytes": head.size_bytes if head else 0,
        "upstream": upstream_json(repo),
    }
