"""Who a token belongs to, what it may do; who is in an organisation; and whether a card will be understood."""

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.asking import cursor, link_next, read_cursor, read_limit
from mirror.hub.doors import door, token_of
from mirror.hub.errors import HubError, bad_request
from mirror.hub.finding import check_may_read, find_repo
from mirror.hub.verbs import find_writable, read_object
from registry.access import Somebody
from registry.card import MAX_CARD_BYTES, faults_of, read_card
from registry.models import Member, Organisation
from registry.namespaces import find_organisation

PAGE = 500
MOST_CARD_BYTES = 4 * MAX_CARD_BYTES
"""Of a question about a card: JSON makes it longer."""


@door("GET")
def whoami(request: HttpRequest, user: Somebody) -> HttpResponse:
    """The user behind the token, with organisations (nobody's own namespace is one); 401 without a token."""
    token = token_of(request)
    if token is None:
        raise HubError(401, "Send an access token: Authorization: Bearer hf_…")
    members = (
        Member.objects.filter(user=token.user, organisation__person=None)
        .select_related("organisation")
        .order_by("organisation__name")
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


@door("GET")
def auth_check_write(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """200 when the caller may commit to the repo, else the refusal that a commit would get."""
    find_writable(request, user, repo_type, f"{namespace}/{name}")
    return JsonResponse({})


@door("GET")
def list_members(request: HttpRequest, user: Somebody, *, name: str) -> HttpResponse:
    """The people of an organisation, for those who have an account; a user's own namespace has one."""
    organisation = _find_organisation(user, name)
    limit = read_limit(request, PAGE, PAGE)
    rows = Member.objects.filter(organisation=organisation, user__username__gt=read_cursor(request))
    page = list(rows.select_related("user").order_by("user__username")[: limit + 1])
    response = JsonResponse([wire.member(row) for row in page[:limit]], safe=False)
    if len(page) > limit:
        link_next(request, response, cursor=cursor(page[limit - 1].user.get_username()))
    return response


@door("GET")
def user_overview(request: HttpRequest, user: Somebody, *, name: str) -> HttpResponse:
    """A user of this registry, for those who have an account."""
    found = (
        User.objects.filter(username__iexact=name, is_active=True).first() if _may_look(user, name) else None
    )
    if found is None:
        raise HubError(404, f"There is no user {name} here, or it takes an account to know.")
    return JsonResponse(wire.person(found))


@door("GET")
def organisation_overview(request: HttpRequest, user: Somebody, *, name: str) -> HttpResponse:
    """An organisation of this registry, for those who have an account."""
    organisation = _find_organisation(user, name)
    n_members = Member.objects.filter(organisation=organisation).count()
    return JsonResponse({"name": organisation.name, "fullname": organisation.name, "numUsers": n_members})


@door("POST")
def validate_yaml(request: HttpRequest, user: Somebody) -> HttpResponse:
    """Whether the front matter of a README.md will be understood, for those with an account; 400 with `errors`."""
    if not user.is_authenticated:
        raise HubError(401, "Send an access token: Authorization: Bearer hf_…")
    content = read_object(request, MOST_CARD_BYTES).get("content")
    if not isinstance(content, str):
        raise bad_request("`content` must be the text of a README.md.")
    card = read_card(content.encode("utf-8", "replace"))
    if faults := faults_of(card):
        found = {
            "error": " ".join(faults),
            "errors": [{"message": fault} for fault in faults],
            "warnings": [],
        }
        return JsonResponse(found, status=400)
    warnings = (
        []
        if card.data
        else [{"message": "README.md has no metadata: nobody will find it by licence or task."}]
    )
    return JsonResponse({"errors": [], "warnings": warnings})


def _find_organisation(user: Somebody, name: str) -> Organisation:
    organisation = find_organisation(name) if _may_look(user, name) else None
    if organisation is None:
        raise HubError(404, f"There is no organisation {name} here, or it takes an account to know.")
    return organisation


def _may_look(user: Somebody, name: str) -> bool:
    """Who has an account here is not told to strangers."""
    return user.is_authenticated and "\0" not in name
