"""`/branch/{name}` and `/tag/{name}`: the refs of a repo, for those who may write to it."""

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.committing import Letter, land
from mirror.hub.doors import door
from mirror.hub.errors import bad_request
from mirror.hub.verbs import find_writable, read_name, read_object, read_switch, refusals
from registry.access import Somebody
from registry.branches import (
    LONGEST_MESSAGE,
    check_ref_name,
    create_branch,
    create_tag,
    delete_branch,
    delete_tag,
    point_branch,
    refuse_taken,
)
from registry.models import Ref, Repo
from registry.revisions import DEFAULT


@door("POST", "DELETE")
def branch(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """POST: the branch begins at `startingPoint`, `main` unless said, or empty. DELETE: it is gone."""
    writer, repo = find_writable(request, user, repo_type, f"{namespace}/{name}")
    with refusals():
        if request.method == "DELETE":
            delete_branch(writer, repo, rest)
        else:
            _make_branch(request, writer, repo, rest)
    return JsonResponse({})


@door("POST", "DELETE")
def tag(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """POST: a tag, named in the body, on the revision in the URL. DELETE: the tag in the URL is gone."""
    writer, repo = find_writable(request, user, repo_type, f"{namespace}/{name}")
    with refusals():
        if request.method == "DELETE":
            delete_tag(writer, repo, rest)
        else:
            asked = read_object(request)
            create_tag(writer, repo, read_name(asked, "tag"), revision=rest, message=_read_message(asked))
    return JsonResponse({})


def _make_branch(request: HttpRequest, writer: User, repo: Repo, name: str) -> None:
    asked = read_object(request)
    overwrite = bool(read_switch(asked, "overwrite"))
    if read_switch(asked, "emptyBranch"):
        _begin_empty(writer, repo, name, overwrite=overwrite)
        return
    start = read_name(asked, "startingPoint") if asked.get("startingPoint") is not None else DEFAULT
    create_branch(writer, repo, name, start=start, overwrite=overwrite)


def _begin_empty(writer: User, repo: Repo, name: str, *, overwrite: bool) -> None:
    """The branch names a commit without a file and without a parent."""
    check_ref_name(Ref.Kind.BRANCH, name)
    refuse_taken(repo, Ref.Kind.BRANCH, name, overwrite=overwrite)
    land(
        repo, [], Letter.of(writer, f"Begin {name}"), look=lambda: None,
        point=lambda locked, commit: point_branch(writer, locked, name, commit, overwrite=overwrite),
    )  # fmt: skip


def _read_message(asked: dict[str, object]) -> str:
    message = asked.get("message") or ""
    if not isinstance(message, str) or len(message) > LONGEST_MESSAGE or "\0" in message:
        raise bad_request(f"`message` must be a text of at most {LONGEST_MESSAGE} letters.")
    return message
