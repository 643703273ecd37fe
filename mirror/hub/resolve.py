"""Where a download is served: `/{repo}/resolve/{revision}/{path}`; `/raw/` and `/sha256sums/` for people."""

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from mirror.hub.delivery import cache_control, file_headers, send_file
from mirror.hub.doors import door
from mirror.hub.errors import repo_not_found
from mirror.hub.finding import Place, check_may_read, find_file, find_place, find_repo
from registry import git
from registry.access import Somebody
from registry.models import File


@door("GET")
def resolve(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponseBase:
    """The bytes of one file, or with HEAD what there is to know of it. At most 4 queries."""
    place, file = _find(request, user, repo_type, f"{namespace}/{name}", rest)
    return send_file(request, place, file)


@door("GET")
def raw(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponseBase:
    """What git itself holds: the bytes of a small file, the pointer of an LFS file."""
    place, file = _find(request, user, repo_type, f"{namespace}/{name}", rest)
    if file.lfs_sha256 is None:
        return send_file(request, place, file)
    pointer = git.lfs_pointer(file.lfs_sha256, file.size_bytes)
    about = {
        "ETag": f'"{file.git_oid}"',
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(pointer)),
    }
    kept = {"X-Repo-Commit", "Cache-Control", "Vary", "Content-Security-Policy"}
    headers = {key: value for key, value in file_headers(place, file).items() if key in kept} | about
    return HttpResponse(pointer, headers=headers)


@door("GET")
def sha256sums(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """Every file of a commit as `sha256sum --check` reads it, by path; three queries.

    A name with a backslash or a line break is escaped, and its line marked by a backslash, as `sha256sum` itself does.
    A file that only upstream has, outside LFS, has no known sha256 and is left out, in a comment.
    """
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    place = find_place(request, repo, rest, light=True)
    check_may_read(user, repo)
    files = File.objects.filter(commit=place.commit).select_related("blob").order_by("path")
    body = "".join(_sum_line(file) for file in files)
    headers = {
        "X-Repo-Commit": place.commit.commit_hash,
        "Cache-Control": cache_control(place),
        "Vary": "Authorization, Cookie",
    }
    return HttpResponse(body, content_type="text/plain; charset=utf-8", headers=headers)


def _sum_line(file: File) -> str:
    escaped = file.path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    if file.sha256 is None:
        return f"# not held yet: {escaped}\n"
    return f"{'' if escaped == file.path else chr(92)}{file.sha256}  {escaped}\n"


@door("GET")
def resolve_legacy(request: HttpRequest, user: Somebody, *, name: str, rest: str) -> HttpResponseBase:
    """Ids of one word (`gpt2`) exist upstream and never here."""
    raise repo_not_found(user, name)


def _find(
    request: HttpRequest, user: Somebody, repo_type: str, repo_id: str, rest: str
) -> tuple[Place, File]:
    repo = find_repo(request, user, repo_type, repo_id, light=True)
    place = find_place(request, repo, rest, light=True)
    check_may_read(user, repo)
    return place, find_file(place)
