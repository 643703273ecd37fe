"""Git LFS: `POST /{repo}.git/info/lfs/objects/batch` and what it leads to.

Spec: git-lfs `docs/api/batch.md`, `docs/api/basic-transfers.md`; `multipart` is the hub's own transfer. An object is
sent whole or in parts, to the store or to us, then verified by us; `mirror/uploads/` says how.
"""

import json
from typing import Any
from urllib.parse import quote

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.blobs.store import StagedPart
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request
from mirror.hub.finding import check_may_read, find_repo
from mirror.hub.receiving import refusals
from mirror.hub.verbs import check_may_write
from mirror.store import blob_store
from mirror.uploads.addresses import END, Address, absolute, address_of, headers_of, part_bytes_for
from mirror.uploads.objects import SHA256, announce, known_objects, pin
from mirror.uploads.verifying import parts_of, wait_until_verified
from registry.access import Somebody, may_offer
from registry.models import File, Job, Repo, Upload

MEDIA_TYPE = "application/vnd.git-lfs+json"
MAX_OBJECTS = 1000
MAX_OBJECT_BYTES = 10 << 40
MAX_BATCH_BYTES = 1 << 20
Json = dict[str, Any]


@door("POST")
def batch(request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str) -> HttpResponse:
    """Which of the objects are there, and where the others go, or come from."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    asked = _read_batch(request)
    objects = [_read_object(one) for one in asked["objects"]]
    if asked["operation"] == "download":
        check_may_read(user, repo)
        told = _downloads(request, repo, objects)
        return _answer({"transfer": "basic", "objects": told})
    writer = _uploader(request, repo)
    is_multipart = "multipart" in asked["transfers"]
    told = _uploads(request, writer, repo, objects, is_multipart=is_multipart)
    is_in_parts = any("chunk_size" in _header(one) for one in told)
    return _answer({"transfer": "multipart" if is_in_parts else "basic", "objects": told})


@door("POST")
def verify(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """200 once we have hashed the object; 422 when it is not what was announced, 503 while it takes longer."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    writer = _uploader(request, repo)
    sha256, size_bytes = _read_object(_read_json(request))
    with refusals(repo):
        uploads = Upload.objects.filter(repo=repo, sha256=sha256, created_by=writer)
        if upload := uploads.select_related("repo").first():
            _check_size(sha256, size_bytes, upload.size_bytes)
            wait_until_verified(upload)
        elif file := File.objects.filter(commit__repo=repo, lfs_sha256=sha256).first():
            _check_size(sha256, size_bytes, file.size_bytes)
        else:
            raise HubError(404, f"the LFS object {sha256} was not announced to {repo.repo_id}.")
    return _answer({"oid": sha256, "size": size_bytes})


# --- batch ------------------------------------------------------------------------------------------------


def _uploader(request: HttpRequest, repo: Repo) -> User:
    writer = writer_of(request)
    if not may_offer(writer, repo):
        check_may_write(writer, repo)
    return writer


def _downloads(request: HttpRequest, repo: Repo, objects: list[tuple[str, int]]) -> list[Json]:
    """For each object where its bytes are served: as a file of a commit that has it. One query."""
    rows = File.objects.filter(commit__repo=repo, lfs_sha256__in=[oid for oid, _ in objects])
    held = {
        sha256: (commit, path)
        for sha256, commit, path in rows.values_list("lfs_sha256", "commit__commit_hash", "path")
    }
    return [_download(request, repo, one, held.get(one[0])) for one in objects]


def _download(request: HttpRequest, repo: Repo, one: tuple[str, int], place: tuple[str, str] | None) -> Json:
    sha256, size_bytes = one
    if place is None:
        error = {"code": 404, "message": f"{repo.repo_id} has no LFS object {sha256}."}
        return {"oid": sha256, "size": size_bytes, "error": error}
    commit_hash, path = place
    url = _url(request, repo, f"/resolve/{commit_hash}/{quote(path)}")
    action: Json = {"href": url}
    if authorization := request.headers.get("Authorization"):
        action["header"] = {"Authorization": authorization}
    return {"oid": sha256, "size": size_bytes, "authenticated": True, "actions": {"download": action}}


def _uploads(
    request: HttpRequest, writer: User, repo: Repo, objects: list[tuple[str, int]], *, is_multipart: bool
) -> list[Json]:
    known = known_objects(writer, repo, {oid for oid, _ in objects})
    pin(writer, repo, known.values())
    told = []
    for sha256, size_bytes in objects:
        if sha256 in known:
            told.append({"oid": sha256, "size": known[sha256].size_bytes})
        else:
            told.append(_upload(request, writer, repo, sha256, size_bytes, is_multipart=is_multipart))
    return told


def _upload(
    request: HttpRequest, writer: User, repo: Repo, sha256: str, size_bytes: int, *, is_multipart: bool
) -> Json:
    upload = announce(writer, repo, sha256, size_bytes)
    told: Json = {"oid": sha256, "size": size_bytes}
    if Job.objects.unfinished().filter(kind="verify", key=str(upload.pk)).exists():
        return told  # all of it was sent and is being hashed: the commit will wait for that
    store, root = blob_store(), _root(request)
    verify_url = _url(request, repo, ".git/info/lfs/verify")
    part_bytes = part_bytes_for(size_bytes)
    if is_multipart and size_bytes > part_bytes:
        _cut(upload, part_bytes)
        action = {
            "href": absolute(Address(upload.pk, END).path, root),
            "header": headers_of(store, upload, parts_of(upload), root),
        }
    else:
        _cut(upload, 0)
        address = address_of(store, upload, StagedPart(1, 0, size_bytes), is_whole=True)
        action = {"href": absolute(address, root)}
    return told | {"actions": {"upload": action, "verify": {"href": verify_url}}}


def _cut(upload: Upload, part_bytes: int) -> None:
    """The parts stay as they were first cut, so that those which are there still fit."""
    parts = {"part_bytes": part_bytes} if part_bytes else {}
    if upload.parts != parts:
        upload.parts = parts
        upload.save(update_fields=["parts", "touched_at"])


# --- reading and answering --------------------------------------------------------------------------------


def _read_json(request: HttpRequest) -> Json:
    if len(request.body) > MAX_BATCH_BYTES:
        raise HubError(413, f"a question about LFS objects has at most {MAX_BATCH_BYTES} bytes.")
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError):
        raise bad_request("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise bad_request("The body is not a JSON object.")
    return found


def _read_batch(request: HttpRequest) -> Json:
    asked = {"transfers": ["basic"], "hash_algo": "sha256"} | _read_json(request)
    if asked.get("operation") not in ("upload", "download"):
        raise HubError(422, "`operation` must be upload or download.")
    if asked["hash_algo"] != "sha256":
        raise HubError(409, "LFS objects are named by their sha256 here.")
    objects = asked.get("objects")
    if (
        not isinstance(objects, list)
        or len(objects) > MAX_OBJECTS
        or not isinstance(asked["transfers"], list)
    ):
        raise HubError(422, f"`objects` must be a list of at most {MAX_OBJECTS}, and `transfers` a list.")
    return asked


def _read_object(asked: Any) -> tuple[str, int]:
    told = asked if isinstance(asked, dict) else {}
    sha256, size_bytes = told.get("oid"), told.get("size")
    is_named = isinstance(sha256, str) and SHA256.fullmatch(sha256)
    if is_named and type(size_bytes) is int and 0 <= size_bytes <= MAX_OBJECT_BYTES:
        return str(sha256), size_bytes
    raise HubError(
        422, "An object has an `oid`, its sha256 in 64 lower-case hex digits, and a `size` in bytes."
    )


def _check_size(sha256: str, told: int, true: int) -> None:
    if told != true:
        raise HubError(422, f"the LFS object {sha256} has {true} bytes, not {told}.")


def _header(told: Json) -> Json:
    found: Json = told.get("actions", {}).get("upload", {}).get("header", {})
    return found


def _root(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def _url(request: HttpRequest, repo: Repo, what: str) -> str:
    folder = "" if repo.repo_type == Repo.Type.MODEL else f"{repo.repo_type}s/"
    return f"{_root(request)}/{folder}{repo.repo_id}{what}"


def _answer(told: Json) -> HttpResponse:
    return JsonResponse(told, content_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
