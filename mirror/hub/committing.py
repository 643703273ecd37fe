"""`POST /commit/{revision}`: files sent, named, copied and deleted in one step, as NDJSON."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.blobs.store import OutOfSpace
from mirror.committing import (
    BranchBusy,
    BranchMoved,
    BytesGone,
    Change,
    CommitRefused,
    EntryMissing,
    Letter,
    RepoGone,
    make_commit,
    squash,
)
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request, revision_not_found
from mirror.hub.finding import Place, find_place, find_repo
from mirror.hub.manage import repo_url
from mirror.hub.receiving import FULL, Body
from mirror.hub.verbs import check_may_write, find_writable, read_object
from mirror.offering import find_parent, may_continue, offer, target_of
from mirror.store import blob_store
from mirror.uploads.changes import changes_of
from mirror.uploads.lines import BadLine
from mirror.uploads.objects import settle
from mirror.uploads.operations import Named, Request, read_request
from mirror.uploads.verifying import ObjectRefused, StillVerifying, wait_for_objects
from registry.access import Somebody, may_offer
from registry.models import Commit, Repo
from registry.revisions import RevisionNotFound

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 << 30
STATUSES: dict[type[CommitRefused], int] = {BranchMoved: 412, BranchBusy: 503, BytesGone: 503, RepoGone: 404}


@door("POST")
def commit(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """The branch names the new commit, or with `create_pr=1` a pull request does; it is visible when this returns."""
    body = Body(request, MAX_BODY_BYTES)
    try:
        writer = writer_of(request)
        repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
        place = find_place(request, repo, rest)
        if request.GET.get("create_pr") in ("1", "true", "True"):
            return _offer(request, writer, place, body)
        return _commit(request, writer, repo, place.revision, body)
    except HubError:
        body.drain()
        raise


def _commit(request: HttpRequest, writer: User, repo: Repo, revision: str, body: Body) -> HttpResponse:
    ref = target_of(repo, revision)
    if ref is None:
        raise bad_request(f"{revision!r} is no branch of {repo.repo_id}: commits are made to branches only.")
    if not (ref.kind == ref.Kind.PULL_REQUEST and may_continue(writer, repo, ref.name)):
        check_may_write(writer, repo)
    with refusals(repo, ref.commit):
        asked = _read(body, lambda header: _check_parent(repo, ref.commit, header))
        made = make_commit(
            repo, _changes(writer, repo, ref.commit, asked), Letter.of(writer, asked.summary, asked.description),
            branch=ref.name, kind=ref.kind, parent=asked.parent,
            also=lambda: settle(repo, _named(asked)),
        )  # fmt: skip
    return _answer(request, repo, made)


def _offer(request: HttpRequest, writer: User, place: Place, body: Body) -> HttpResponse:
    repo, base = place.repo, place.commit
    if place.is_pinned:
        raise revision_not_found(repo.repo_id, place.revision)  # nothing can be merged into a commit
    if not may_offer(writer, repo):
        check_may_write(writer, repo)
    with refusals(repo, base):
        asked = _read(body, lambda header: None)
        if asked.parent:
            base = find_parent(repo, asked.parent)
        letter = Letter.of(writer, asked.summary, asked.description)
        pull_request, made = offer(
            writer, repo, base, _changes(writer, repo, base, asked), letter, revision=place.revision,
            also=lambda: settle(repo, _named(asked)),
        )  # fmt: skip
    return _answer(request, repo, made, pull_request.number)


def _changes(writer: User, repo: Repo, base: Commit, asked: Request) -> list[Change]:
    wait_for_objects(repo, _named(asked))
    return changes_of(blob_store(), writer, repo, base, asked.operations)


def _named(asked: Request) -> set[str]:
    return {one.sha256 for one in asked.operations if isinstance(one, Named)}


def _read(body: Body, on_header: Callable[[Request], None]) -> Request:
    return read_request(body.read, blob_store(), on_header=on_header)


def _check_parent(repo: Repo, head: Commit, header: Request) -> None:
    """Before hundreds of megabytes are taken in; the lock decides in the end."""
    if header.parent and not head.commit_hash.startswith(header.parent):
        raise BranchMoved(repo, header.parent, head)


@door("POST")
def super_squash(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """The branch names one commit without parents that has the same files. The old ones stay under their hashes."""
    writer, repo = find_writable(request, user, repo_type, f"{namespace}/{name}")
    place = find_place(request, repo, rest)
    ref = target_of(repo, place.revision)
    if ref is None:
        raise bad_request(f"{place.revision!r} is no branch of {repo.repo_id}: only branches are squashed.")
    message = read_object(request).get("message") or f"Super-squash branch '{ref.name}'"
    if not isinstance(message, str):
        raise bad_request("`message` must be a text.")
    with refusals(repo, ref.commit):
        squash(repo, ref, Letter.of(writer, message.replace("\0", "")[:500]))
    return JsonResponse({})


def _answer(request: HttpRequest, repo: Repo, made: Commit, number: int | None = None) -> HttpResponse:
    url = repo_url(request, repo)
    told = {
        "success": True,
        "commitUrl": f"{url}/commit/{made.commit_hash}",
        "commitOid": made.commit_hash,
        "hookOutput": "",
    }
    if number is not None:
        told["pullRequestUrl"] = f"{url}/discussions/{number}"
    return JsonResponse(told)


@contextmanager
def refusals(repo: Repo, base: Commit) -> Iterator[None]:
    """What cannot be committed becomes the answer that clients know."""
    try:
        yield
    except BadLine as error:
        raise HubError(error.status, error.message) from None
    except EntryMissing as error:
        at = error.commit or base
        raise HubError(404, str(error), code="EntryNotFound", X_Repo_Commit=at.commit_hash) from None
    except RevisionNotFound as error:
        raise revision_not_found(error.repo_id, error.revision) from None
    except StillVerifying as error:
        raise HubError(503, f"{error} Nothing was committed.", Retry_After="5") from None
    except ObjectRefused as error:
        raise HubError(422, f"{error} Nothing was committed.") from None
    except CommitRefused as error:
        raise HubError(STATUSES.get(type(error), 400), str(error)) from None
    except OutOfSpace as error:
        logger.error("commit to %s: %s", repo.repo_id, error)
        raise HubError(507, f"{repo.repo_id}: {FULL}") from None
