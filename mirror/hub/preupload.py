"""`POST /preupload/{revision}`: how each file of a commit to be should be sent, and whether it is there already."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request
from mirror.hub.finding import Place, find_place, find_repo
from mirror.hub.verbs import check_may_write
from mirror.store import blob_store
from mirror.uploads.changes import rules_in
from mirror.uploads.lines import BadLine
from mirror.uploads.modes import Mode, upload_mode
from mirror.uploads.operations import check_path
from mirror.uploads.patterns import IgnorePatterns
from registry.access import Somebody, may_offer
from registry.models import File

MAX_BODY_BYTES = 8 << 20
MAX_FILES = 5000
GITIGNORE = ".gitignore"
# Clients print this. Their Xet library shows no answer of ours, so it is all that people see of the reason.
NO_XET = (
    "uploads; large files go to this registry by Git LFS: it has no Xet store. If the upload fails at "
    "xet-write-token, set HF_HUB_DISABLE_XET=1 and run it again."
)


@door("POST")
def preupload(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """For each file its `uploadMode`, `shouldIgnore`, and the `oid` of what it has now. At most 7 queries."""
    writer = writer_of(request)
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    place = find_place(request, repo, rest, light=True)
    if not may_offer(writer, repo):
        check_may_write(writer, repo)
    asked = _read(request)
    wanted = [_read_file(one) for one in asked["files"]]
    held = _held(place, [path for path, _ in wanted])
    ignored = IgnorePatterns(_gitignore(place, asked))
    told = [_told(path, size, held.get(path), ignored) for path, size in wanted]
    response = JsonResponse({"files": told, "commitOid": place.commit.commit_hash})
    if any(one["uploadMode"] == "lfs" for one in told):
        response["X-HF-Warning"] = NO_XET
    return response


def _told(path: str, size_bytes: int, held: File | None, ignored: IgnorePatterns) -> dict[str, Any]:
    mode = upload_mode(size_bytes)
    told = {"path": path, "uploadMode": mode, "shouldIgnore": ignored.matches(path)}
    oid = _oid(held, mode) if held else None
    return told | ({"oid": oid} if oid else {})


def _oid(held: File, mode: Mode) -> str | None:
    """What the client compares its own bytes with: their sha256, or their id as a git blob, where that is known."""
    if mode == "lfs":
        return held.sha256
    if not held.is_lfs:
        return held.git_oid
    return held.blob.git_oid if held.blob else None


def _held(place: Place, paths: list[str]) -> dict[str, File]:
    files = File.objects.filter(commit=place.commit, path__in=paths).select_related("blob")
    return {file.path: file for file in files}


def _gitignore(place: Place, asked: dict[str, Any]) -> bytes:
    """What was sent, else the repo's own."""
    sent = asked.get("gitIgnore")
    if isinstance(sent, str):
        return sent.encode(errors="replace")
    return rules_in(blob_store(), place.commit, GITIGNORE)


def _read(request: HttpRequest) -> dict[str, Any]:
    if len(request.body) > MAX_BODY_BYTES:
        raise HubError(413, f"A question has at most {MAX_BODY_BYTES} bytes; ask about fewer files at once.")
    try:
        asked = json.loads(request.body)
    except (ValueError, RecursionError):
        raise bad_request('The body is not JSON. Send {"files": [{"path", "size", "sample"}]}.') from None
    files = asked.get("files") if isinstance(asked, dict) else None
    if not isinstance(files, list) or len(files) > MAX_FILES:
        raise bad_request(f"`files` must be a list of at most {MAX_FILES}.")
    return dict(asked)


def _read_file(asked: Any) -> tuple[str, int]:
    if not isinstance(asked, dict) or type(asked.get("size")) is not int or asked["size"] < 0:
        raise bad_request("a file has a `path`, and a `size` in bytes.")
    try:
        return check_path(asked.get("path"), "preupload"), asked["size"]
    except BadLine as error:
        raise HubError(error.status, error.message) from None
