"""Our own API, `/api/holdfast/v1`: what the hub protocol has no words for. The pull client asks here.

GET resolve/{org}/{name}?revision=main&variant=Q8_0    which files a variant is, and what there is to choose from
GET jobs, jobs/{id}                                    work and its progress

Verdicts are in validations.py.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub.asking import cursor, link_next, read_cursor, read_limit
from mirror.hub.doors import door
from mirror.hub.errors import HubError, bad_request
from mirror.hub.finding import find_commit, find_repo
from registry.access import Somebody, may_operate, visible_jobs
from registry.figures import figures_of
from registry.models import Commit, File, Job, Repo
from registry.models.job import STATES
from registry.revisions import DEFAULT
from registry.variants import Variant, find_variant, variants_of

PAGE, MOST_PAGE = 100, 1000


@door("GET")
def resolve_variant(request: HttpRequest, user: Somebody, *, namespace: str, name: str) -> HttpResponse:
    """The repo, commit and files of a variant; without one, of the whole commit. Always all choices."""
    repo = find_repo(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    commit = find_commit(repo, request.GET.get("revision") or DEFAULT, light=True)
    variants = variants_of(repo, commit)
    figures = figures_of(variants, commit)
    choices = [_choice(variant) | more for variant, more in zip(variants, figures, strict=True)]
    wanted = request.GET.get("variant", "")
    if not wanted:
        return JsonResponse(_whole(repo, commit) | {"choices": choices})
    variant = find_variant(variants, wanted)
    if variant is None:
        return _unknown_variant(repo, commit, wanted, choices)
    place = {"repo_id": variant.repo_id, "commit": variant.commit_hash, "variant": variant.name}
    return JsonResponse(
        place | variant.trust | {"files": [_file(file) for file in variant.files], "choices": choices}
    )


@door("GET")
def list_jobs(request: HttpRequest, user: Somebody) -> HttpResponse:
    """One page of the jobs that the caller may know of, newest first, of one `state` if that is given."""
    jobs = visible_jobs(user).order_by("-pk")
    if state := request.GET.get("state", ""):
        if state not in STATES:
            raise bad_request(f"state={state} is unknown; there are {', '.join(STATES)}.")
        jobs = jobs.filter(state=state)
    if after := read_cursor(request):
        if not after.isascii() or not after.isdecimal() or len(after) > 18:
            raise bad_request("this cursor is not one that we gave; begin again without it.")
        jobs = jobs.filter(pk__lt=int(after))
    limit = read_limit(request, PAGE, MOST_PAGE)
    rows = list(jobs[: limit + 1])
    response = JsonResponse(
        [job_json(job, user) for job in rows[:limit]], safe=False, headers={"Cache-Control": "no-store"}
    )
    if len(rows) > limit:
        link_next(request, response, cursor=cursor(str(rows[limit - 1].pk)))
    return response


@door("GET")
def show_job(request: HttpRequest, user: Somebody, *, number: int) -> HttpResponse:
    """One job with its progress."""
    job = visible_jobs(user).filter(pk=number).first() if number < 2**63 else None
    if job is None:
        raise HubError(404, f"There is no job {number}, or it is not for you to see.")
    return JsonResponse(job_json(job, user), headers={"Cache-Control": "no-store"})


def job_json(job: Job, user: Somebody) -> dict[str, Any]:
    """The job; to those who do not operate this service, without the paths of its directories."""
    shown = job.as_json()
    if may_operate(user) or job.params.get("kind") != "directory":
        return shown
    kept = {name: value for name, value in job.params.items() if name in ("repo_id", "revision", "repo_type")}
    shown |= {"label": f"{job.kind} {kept.get('repo_id', 'a directory')}", "params": kept}
    shown["error_message"] = "The operator can read why." if job.error_message else ""
    return shown


def _file(file: File) -> dict[str, Any]:
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "git_oid": file.git_oid,
        "is_lfs": file.is_lfs,
    }


def _choice(variant: Variant) -> dict[str, Any]:
    return {
        "variant": variant.name,
        "repo_id": variant.repo_id,
        "path": variant.path,
        "size_bytes": variant.size_bytes,
        "commit": variant.commit_hash,
    } | variant.trust


def _whole(repo: Repo, commit: Commit) -> dict[str, Any]:
    files = File.objects.filter(commit=commit).select_related("blob").order_by("path")
    return {"repo_id": repo.repo_id, "commit": commit.commit_hash, "files": [_file(file) for file in files]}


def _unknown_variant(repo: Repo, commit: Commit, wanted: str, choices: list[dict[str, Any]]) -> HttpResponse:
    names = ", ".join(choice["variant"] for choice in choices) or "none"
    message = f"{repo.repo_id}@{commit.commit_hash[:12]} has no variant {wanted!r} here. There is: {names}."
    return JsonResponse({"error": message, "code": "unknown-variant", "choices": choices}, status=404)
