"""`/refs` and `/commits/{revision}`: the names of a repo and its history."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.asking import link_next, read_flag, read_limit, read_page_number, read_values
from mirror.hub.doors import door
from mirror.hub.finding import find_place, find_repo
from mirror.hub.history import history
from registry.access import Somebody
from registry.models import Ref
from registry.revisions import DEFAULT

PAGE = 50
MOST_PAGE = 1000


@door("GET")
def list_refs(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """Every branch and tag with its commit, `main` first; pull requests if they are asked for."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    with_pull_requests = read_flag(request, "include_prs")
    rows = Ref.objects.filter(repo=repo).select_related("commit").only("kind", "name", "commit__commit_hash")
    if not with_pull_requests:
        rows = rows.exclude(kind=Ref.Kind.PULL_REQUEST)
    ordered = sorted(rows, key=lambda row: (row.name != DEFAULT, row.name))
    return JsonResponse(wire.refs(ordered, with_pull_requests=with_pull_requests))


@door("GET")
def list_commits(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """One page of the history of a revision, newest first."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    place = find_place(request, repo, rest, light=True)
    page, limit = read_page_number(request), read_limit(request, PAGE, MOST_PAGE)
    commits = history(place.commit)
    total = commits.count()
    rows = commits[page * limit : (page + 1) * limit]
    formatted = "formatted" in read_values(request, "expand")
    response = JsonResponse([wire.commit(row, formatted=formatted) for row in rows], safe=False)
    response["X-Total-Count"] = str(total)
    if (page + 1) * limit < total:
        link_next(request, response, p=str(page + 1))
    return response
