"""`/api/whoami-v2` and `/auth-check`: who a token belongs to and what it may see."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.doors import door, token_of
from mirror.hub.errors import HubError
from mirror.hub.finding import check_may_read, find_repo
from registry.access import Somebody
from registry.models import Member


@door("GET")
def whoami(request: HttpRequest, user: Somebody) -> HttpResponse:
    """The user behind the token, with organisations; 401 without one."""
    token = token_of(request)
    if token is None:
        raise HubError(401, "Send an access token: Authorization: Bearer hf_…")
    members = (
        Member.objects.filter(user=token.user).select_related("organisation").order_by("organisation__name")
    )
    return JsonResponse(wire.whoami(token, members), headers={"Cache-Control": "no-store"})


@door("GET")
def auth_check(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """200 when the caller may read the files of the repo, else the refusal that a download would get."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    check_may_read(user, repo)
    return JsonResponse({})
