"""Repos as a whole: made, moved, hidden, deleted. Only tokens that may write act here; a session does not."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.creating import create_repo
from mirror.deleting import delete_repo
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import bad_request, repo_not_found
from mirror.hub.verbs import (
    check_may_own,
    find_owned,
    read_name,
    read_object,
    read_private,
    read_type,
    refusals,
)
from mirror.moving import move_repo
from mirror.store import blob_store
from registry.access import Somebody, visible_repos
from registry.models import Repo
from registry.namespaces import namespace_of
from registry.repos import RepoExists, change_settings


@door("POST")
def create(request: HttpRequest, user: Somebody) -> HttpResponse:
    """A new repo with a first commit; 409 with its url when it is there already."""
    writer, asked = writer_of(request), read_object(request)
    repo_type, name, private = read_type(asked), read_name(asked, "name"), bool(read_private(asked))
    namespace = None if asked.get("organization") is None else read_name(asked, "organization")
    with refusals():
        organisation = namespace_of(writer, namespace)
        try:
            repo = create_repo(blob_store(), writer, organisation, name, repo_type=repo_type, private=private)
        except RepoExists as taken:
            found = {"error": str(taken), "url": repo_url(request, taken.repo)}
            return JsonResponse(found, status=409)
    return JsonResponse({"url": repo_url(request, repo), "name": repo.repo_id, "id": f"{repo.pk:024x}"})


@door("DELETE")
def delete(request: HttpRequest, user: Somebody) -> HttpResponse:
    """The repo that the body names is gone."""
    writer, asked = writer_of(request), read_object(request)
    namespace = (
        writer.get_username() if asked.get("organization") is None else read_name(asked, "organization")
    )
    repo = find_named(writer, read_type(asked), f"{namespace}/{read_name(asked, 'name')}")
    check_may_own(writer, repo)
    with refusals():
        delete_repo(blob_store(), writer, repo)
    return JsonResponse({})


@door("POST")
def move(request: HttpRequest, user: Somebody) -> HttpResponse:
    """The repo `fromRepo` is called `toRepo`: another name, or another namespace where the user may make repos."""
    writer, asked = writer_of(request), read_object(request)
    repo = find_named(writer, read_type(asked), read_name(asked, "fromRepo"))
    check_may_own(writer, repo)
    namespace, slash, name = read_name(asked, "toRepo").partition("/")
    if not slash:
        raise bad_request("`toRepo` must be of the form organisation/name.")
    with refusals():
        moved = move_repo(blob_store(), writer, repo, namespace_of(writer, namespace), name)
    return JsonResponse({"url": repo_url(request, moved)})


@door("PUT")
def settings(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """Whether the repo is private, and whether it is gated; what is not said stays."""
    owner, repo = find_owned(request, user, repo_type, f"{namespace}/{name}")
    asked = read_object(request)
    private, gated = read_private(asked), _read_gated(asked)
    if private is None and gated is None:
        raise bad_request("the body says neither `visibility` nor `gated`.")
    with refusals():
        changed = change_settings(owner, repo, private=private, gated=gated)
    return JsonResponse({"private": changed.private, "gated": changed.gated or False})


def find_named(user: Somebody, repo_type: str, repo_id: str) -> Repo:
    """The repo that a body names, in any case of letters; a former name leads nowhere. Raises the usual 404."""
    repo = visible_repos(user, repo_type).by_id(repo_id).first()
    if repo is None:
        raise repo_not_found(user, repo_id)
    return repo


def _read_gated(asked: dict[str, Any]) -> str | None:
    """As the row has it; None where nothing is said."""
    gated = asked.get("gated")
    if gated is None or gated in ("auto", "manual"):
        return gated
    if gated is False:
        return ""
    raise bad_request("`gated` must be auto, manual or false.")


def repo_url(request: HttpRequest, repo: Repo) -> str:
    """Where the repo is, on the host that was asked: clients read its id out of this."""
    folder = "" if repo.repo_type == Repo.Type.MODEL else f"{repo.repo_type}s/"
    return request.build_absolute_uri(f"/{folder}{repo.repo_id}")
