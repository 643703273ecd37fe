"""What the doors that change something share: who may, what the body says, and how a refusal is answered."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest

from mirror.deleting import StillNeeded
from mirror.hub.doors import writer_of
from mirror.hub.errors import HubError, bad_request, revision_not_found
from mirror.hub.finding import find_repo
from registry.access import Somebody, may_own, may_write
from registry.branches import BadRefName, RefExists, RefMissing, RefProtected
from registry.models import Repo
from registry.namespaces import BadName, NamespaceRefused
from registry.repos import RepoExists
from registry.revisions import RevisionNotFound

MOST_BYTES = 64 * 1024
"""Of a body here: names and switches. What is longer is no honest question."""

STATUSES: dict[type[Exception], int] = {
    BadName: 400, NamespaceRefused: 403, RepoExists: 409, StillNeeded: 409,
    BadRefName: 400, RefExists: 409, RefProtected: 400,
}  # fmt: skip


@contextmanager
def refusals() -> Iterator[None]:
    """What a verb refuses becomes the answer that clients know."""
    try:
        yield
    except RevisionNotFound as missing:
        raise revision_not_found(missing.repo_id, missing.revision) from None
    except Repo.DoesNotExist:
        raise HubError(404, "Repository not found: it was deleted meanwhile.", code="RepoNotFound") from None
    except RefMissing as missing:
        raise HubError(404, str(missing), code="RevisionNotFound") from None
    except tuple(STATUSES) as refused:
        raise HubError(STATUSES[type(refused)], str(refused)) from None


def find_writable(request: HttpRequest, user: Somebody, repo_type: str, repo_id: str) -> tuple[User, Repo]:
    """The repo and who writes to it, by a token that may. 401 and 403 otherwise; 404 for what the user may not see."""
    writer = writer_of(request)
    repo = find_repo(request, user, repo_type, repo_id)
    check_may_write(writer, repo)
    return writer, repo


def check_may_write(user: User, repo: Repo) -> None:
    """Raises the 403 that says why not."""
    if repo.upstream_id is not None:
        raise HubError(
            403, f"{repo.repo_id} is mirrored from {repo.upstream}, so nothing is written to it here."
        )
    if not may_write(user, repo):
        message = f"{user.get_username()} may read {repo.repo_id} and not write to it."
        raise HubError(403, f"{message} An owner of {repo.namespace} can change that.")


def find_owned(request: HttpRequest, user: Somebody, repo_type: str, repo_id: str) -> tuple[User, Repo]:
    """The repo and one of its owners, by a token that may write. 401 and 403 otherwise; 404 for what is not seen."""
    owner = writer_of(request)
    repo = find_repo(request, user, repo_type, repo_id)
    check_may_own(owner, repo)
    return owner, repo


def check_may_own(user: User, repo: Repo) -> None:
    """Raises the 403 that says who may."""
    if not may_own(user, repo):
        message = f"Only an owner of {repo.namespace} may do that to {repo.repo_id}."
        raise HubError(403, f"{message} {user.get_username()} is none.")


def read_object(request: HttpRequest, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object in the body, of at most so many bytes; an empty body is an empty one."""
    if int(request.headers.get("Content-Length") or 0) > most_bytes:
        raise HubError(
            413, f"The body has more than {most_bytes} bytes, which is more than is asked for here."
        )
    try:
        asked = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON.") from None
    if not isinstance(asked, dict):
        raise bad_request("the body is not a JSON object.")
    return asked


def read_type(asked: dict[str, Any]) -> Repo.Type:
    """The type of repo that is meant, `model` where nothing is said."""
    repo_type = asked.get("type") or "model"
    if not isinstance(repo_type, str) or repo_type not in Repo.Type.values:
        raise bad_request(
            f"there are no repos of type {str(repo_type)[:40]!r} here, only models and datasets."
        )
    return Repo.Type(repo_type)


def read_name(asked: dict[str, Any], key: str) -> str:
    """A text that must be there."""
    value = asked.get(key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 250:
        raise bad_request(f"`{key}` must be a text of 1 to 250 printable letters.")
    return value


def read_switch(asked: dict[str, Any], key: str) -> bool | None:
    """True or false; None where nothing is said."""
    value = asked.get(key)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"`{key}` must be true or false.")
    return value


def read_private(asked: dict[str, Any]) -> bool | None:
    """`visibility` as clients say it now, `private` as they did; None where neither is said."""
    visibility = asked.get("visibility")
    if visibility is None:
        return read_switch(asked, "private")
    if visibility not in ("public", "private"):
        raise bad_request(f"`visibility` must be public or private, not {str(visibility)[:40]!r}.")
    return bool(visibility == "private")
