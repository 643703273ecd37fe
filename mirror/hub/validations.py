"""Verdicts by the API: asking for one, and reading what there is.

POST validate                            a job that judges an artifact, or a file of a repo
GET  validations/{org}/{name}            what is judged in a repo, or against it, best first
GET  validations/{org}/{name}/{sha256}   every run on those bytes, and what changed from each to the next
GET  reports/{sha256}                    one report, as the bytes that its name is the digest of
"""

import json
import re
from itertools import pairwise
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.blobs.store import KeyMissing, blob_key
from mirror.hub.asking import read_limit
from mirror.hub.delivery import SANDBOX, YEAR_SECONDS
from mirror.hub.doors import door, writer_of
from mirror.hub.errors import HubError, bad_request, entry_not_found, repo_not_found
from mirror.hub.finding import find_commit, find_repo
from mirror.hub.own import job_json
from mirror.hub.ranges import matches_any
from mirror.store import blob_store
from registry.access import Somebody, visible_repos, visible_validations
from registry.comparing import compare_reports
from registry.gates import read_gates
from registry.incomplete import CommitIncomplete, refuse_incomplete
from registry.models import Artifact, Blob, Commit, File, Job, Repo
from registry.revisions import DEFAULT
from registry.validating import base_of, request_file_validation, request_validation
from registry.variants import find_variant, main_file, own_variants
from registry.verdicts import history_of, validation_json, verdict_rows

MOST_ROWS = 1000
MAX_REPORT_BYTES = 4 * 2**20
MAX_QUESTION_BYTES = 64 * 1024
FIELDS = frozenset({"artifact", "repo", "revision", "path", "variant", "parent"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"(?P<repo>[^@:\s]+/[^@:\s]+)(?:@(?P<revision>[^:\s]+))?")


@door("POST")
def validate(request: HttpRequest, user: Somebody) -> HttpResponse:
    """202 and the one unfinished job that judges what was named. Idempotent."""
    writer_of(request)
    question = _read_question(request)
    job = _requested(user, question)
    response = JsonResponse(job_json(job, user), status=202, headers={"Cache-Control": "no-store"})
    response["Location"] = request.build_absolute_uri(f"/api/holdfast/v1/jobs/{job.pk}")
    return response


def _requested(user: Somebody, question: dict[str, Any]) -> Job:
    by = getattr(user, "username", "")
    if "artifact" in question:
        return request_validation(_find_artifact(user, question["artifact"]), created_by=by)
    file = _find_file(user, question)
    parent = _find_parent(user, question["parent"]) if "parent" in question else base_of(file.commit.repo)
    for commit in filter(None, [file.commit, parent]):
        _refuse_incomplete(commit)
    return request_file_validation(file, parent, created_by=by)


def _read_question(request: HttpRequest) -> dict[str, Any]:
    if len(request.body) > MAX_QUESTION_BYTES:
        raise HubError(413, f"A question has at most {MAX_QUESTION_BYTES} bytes.")
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError):
        raise bad_request('The body is not JSON. Send {"repo": "org/name", "path": "file.gguf"}.') from None
    if not isinstance(found, dict) or set(found) - FIELDS or not {"artifact", "repo"} & set(found):
        raise bad_request(
            f"Name an `artifact`, or a `repo` with `revision` and `path` or `variant`, and perhaps a `parent`; "
            f"nothing else is known ({', '.join(sorted(FIELDS))})."
        )
    for name in set(found) - {"artifact"}:
        if not isinstance(found[name], str) or "\0" in found[name]:
            raise bad_request(f"`{name}` must be a text.")
    return found


def _refuse_incomplete(commit: Commit) -> None:
    try:
        refuse_incomplete(commit)
    except CommitIncomplete as error:
        raise HubError(409, str(error)) from error


def _find_artifact(user: Somebody, number: object) -> Artifact:
    if type(number) is int and 0 < number < 2**63:
        rows = Artifact.objects.filter(pk=number, source__repo__in=visible_repos(user).values("pk"))
        if artifact := rows.select_related("source__repo").first():
            return artifact
    raise HubError(
        404, f"There is no artifact {number!r:.40}, or it is not for you to see.", code="EntryNotFound"
    )


def _find_file(user: Somebody, question: dict[str, Any]) -> File:
    """The file that was named by path, by variant, or by being the only model of its commit."""
    repo = _find_repo(user, question["repo"])
    commit = find_commit(repo, question.get("revision", DEFAULT), light=True)
    commit.repo = repo
    if path := question.get("path"):
        file = File.objects.filter(commit=commit, path=path).select_related("commit__repo").first()
        if file is None:
            raise entry_not_found(repo.repo_id, commit.commit_hash, path)
        return file
    variants = own_variants(repo, commit)
    wanted = question.get("variant")
    chosen = find_variant(variants, wanted) if wanted else variants[0] if len(variants) == 1 else None
    if chosen is None:
        names = ", ".join(variant.name for variant in variants) or "none"
        raise bad_request(f"Which file of {repo.repo_id}? Name a `path`, or a `variant` of: {names}.")
    return main_file(chosen)


def _find_parent(user: Somebody, reference: str) -> Commit | None:
    """The commit that `org/name[@revision]` means; None for the empty text, which asks for no parent."""
    if not reference:
        return None
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise bad_request(f"`parent` is {reference!r:.80}, and must be like org/name or org/name@revision.")
    return find_commit(_find_repo(user, match["repo"]), match["revision"] or DEFAULT)


def _find_repo(user: Somebody, repo_id: str) -> Repo:
    """By a name in a body: in whatever case, since there is no URL to send the caller on to."""
    repo = visible_repos(user).by_id(repo_id).first()
    if repo is None:
        raise repo_not_found(user, repo_id)
    return repo


@door("GET")
def list_validations(request: HttpRequest, user: Somebody, *, namespace: str, name: str) -> HttpResponse:
    """The files that are judged, or wait for it, best first, each with what is held of it."""
    repo = find_repo(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    commit = find_commit(repo, request.GET.get("revision") or DEFAULT, light=True) if repo.head_id else None
    rows, gates = verdict_rows(repo, commit, user), read_gates()
    limit = read_limit(request, MOST_ROWS, MOST_ROWS)
    return JsonResponse([row.as_json(gates) for row in rows[:limit]], safe=False, headers=_fresh(user))


@door("GET")
def show_validations(
    request: HttpRequest, user: Somebody, *, namespace: str, name: str, sha256: str
) -> HttpResponse:
    """Every run on those bytes, newest first; each says what changed since the one before it."""
    repo = find_repo(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    blob = _blob_of(repo, sha256)
    runs = history_of(blob, user)
    told = [validation_json(run) | {"since": None} for run in runs]
    for one, (newer, older) in zip(told, pairwise(runs), strict=False):
        one["since"] = compare_reports(older.report, newer.report).as_json()
    return JsonResponse({"sha256": sha256, "size_bytes": blob.size_bytes, "runs": told}, headers=_fresh(user))


def _blob_of(repo: Repo, sha256: str) -> Blob:
    """The bytes, if this repo made, published or holds them."""
    if _DIGEST.fullmatch(sha256):
        rows = Blob.objects.filter(sha256=sha256)
        mine = [
            rows.filter(**{field: repo})
            for field in ("artifacts__source__repo", "artifacts__published_in__repo", "files__commit__repo")
        ]
        if blob := next((found for row in mine if (found := row.first())), None):
            return blob
    raise HubError(404, f"{repo.repo_id} has no file with the sha256 {sha256[:64]!r}.", code="EntryNotFound")


@door("GET")
def show_report(request: HttpRequest, user: Somebody, *, sha256: str) -> HttpResponse:
    """The report's own bytes, for ever the same under this name."""
    row = None
    if _DIGEST.fullmatch(sha256):
        row = (
            visible_validations(user).filter(report_blob__sha256=sha256).select_related("report_blob").first()
        )
    if row is None or row.report_blob is None:
        raise HubError(
            404, f"There is no report {sha256[:64]!r}, or it is not for you to see.", code="EntryNotFound"
        )
    headers = {
        "ETag": f'"{sha256}"', "X-Content-Type-Options": "nosniff", "Content-Security-Policy": SANDBOX,
        "Cache-Control": f"{_audience(user)}, max-age={YEAR_SECONDS}, immutable", "Vary": "Authorization, Cookie",
    }  # fmt: skip
    if matches_any(request.headers.get("If-None-Match", ""), headers["ETag"]):
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(_report_bytes(row.report_blob), content_type="application/json", headers=headers)


def _report_bytes(blob: Blob) -> bytes:
    try:
        if blob.state == Blob.State.PRESENT and blob.size_bytes <= MAX_REPORT_BYTES:
            return blob_store().read(blob_key(blob.sha256))
    except KeyMissing:
        pass
    raise HubError(
        503, f"The report {blob.sha256} is {blob.state} in this registry's blob store. `manage.py audit` says more.",
        code="BytesUnavailable",
    )  # fmt: skip


def _audience(user: Somebody) -> str:
    """What a stranger may read may be kept by caches that many share."""
    return "private" if user.is_authenticated else "public"


def _fresh(user: Somebody) -> dict[str, str]:
    return {"Cache-Control": f"{_audience(user)}, no-cache", "Vary": "Authorization, Cookie"}
