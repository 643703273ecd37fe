"""Repos as a whole: `/api/repos/create`. Only tokens that may write act here; a session does not."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.creating import create_repo
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request
from mirror.store import blob_store
from registry.access import Somebody
from registry.models import Repo
from registry.namespaces import BadName, NamespaceRefused, namespace_of
from registry.repos import RepoExists

MOST_BYTES = 64 * 1024
"""Of a body here: names and switches. What is longer is no honest question."""

TYPES = {"model": Repo.Type.MODEL, "dataset": Repo.Type.DATASET}


@door("POST")
def create(request: HttpRequest, user: Somebody) -> HttpResponse:
    """A new repo with a first commit; 409 with its url when it is there already."""
    writer, asked = writer_of(request), read_object(request)
    repo_type, name = read_type(asked), read_name(asked, "name")
    organisation = read_name(asked, "organization") if asked.get("organization") else None
    private = read_private(asked)
    try:
        repo = create_repo(
            blob_store(), writer, namespace_of(writer, organisation), name, repo_type=repo_type, private=bool(private)
        )  # fmt: skip
    except RepoExists as taken:
        url = repo_url(request, taken.repo)
        return JsonResponse({"error": str(taken), "url": url}, status=409)
    except NamespaceRefused as refused:
        raise HubError(403, str(refused)) from None
    except BadName as bad:
        raise bad_request(str(bad)) from None
    return JsonResponse({"url": repo_url(request, repo), "name": repo.repo_id, "id": f"{repo.pk:024x}"})


def repo_url(request: HttpRequest, repo: Repo) -> str:
    """Where the repo is, on the host that was asked: clients read its id out of this."""
    folder = "" if repo.repo_type == Repo.Type.MODEL else f"{repo.repo_type}s/"
    return request.build_absolute_uri(f"/{folder}{repo.repo_id}")


def read_object(request: HttpRequest) -> dict[str, Any]:
    """The JSON object in the body, of at most 64 kB."""
    if int(request.headers.get("Content-Length") or 0) > MOST_BYTES:
        raise HubError(413, f"The body has more than {MOST_BYTES} bytes; names and switches are shorter.")
    try:
        asked = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON.") from None
    if not isinstance(asked, dict):
        raise bad_request("the body is not a JSON object.")
    return asked


def read_type(asked: dict[str, Any]) -> str:
    """The type of repo that is meant, `model` where nothing is said."""
    repo_type = asked.get("type") or "model"
    if not isinstance(repo_type, str) or repo_type not in TYPES:
        raise bad_request(
            f"there are no repos of type {str(repo_type)[:40]!r} here, only models and datasets."
        )
    return TYPES[repo_type]


def read_name(asked: dict[str, Any], key: str) -> str:
    """A text that must be there."""
    value = asked.get(key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 250:
        raise bad_request(f"`{key}` must be a text of 1 to 250 printable letters.")
    return value


def read_private(asked: dict[str, Any]) -> bool | None:
    """`visibility` as clients say it now, `private` as they did; None where neither is said."""
    visibility, private = asked.get("visibility"), asked.get("private")
    if visibility is None:
        if private not in (None, True, False):
            raise bad_request("`private` must be true or false.")
        return private
    if visibility not in ("public", "private"):
        raise bad_request(f"`visibility` must be public or private, not {str(visibility)[:40]!r}.")
    return bool(visibility == "private")
