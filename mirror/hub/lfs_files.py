"""`/lfs-files`: the LFS objects of a repo, with a file that has each."""

from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.asking import cursor, link_next, read_cursor, read_limit
from mirror.hub.doors import door
from mirror.hub.finding import check_may_read, find_repo
from registry.access import Somebody
from registry.models import File

PAGE = 1000


@door("GET")
def list_lfs_files(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponse:
    """One page of the objects that any commit has, by sha256; each with the newest file that has it. Two queries."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    check_may_read(user, repo)
    limit = read_limit(request, PAGE, PAGE)
    held = File.objects.filter(commit__repo=repo, lfs_sha256__gt=read_cursor(request))
    newest = list(held.values("lfs_sha256").annotate(newest=Max("pk")).order_by("lfs_sha256")[: limit + 1])
    wanted = [row["newest"] for row in newest[:limit]]
    files = File.objects.filter(pk__in=wanted).select_related("commit").order_by("lfs_sha256")
    response = JsonResponse([_shown(file) for file in files], safe=False)
    if len(newest) > limit:
        link_next(request, response, cursor=cursor(str(newest[limit - 1]["lfs_sha256"])))
    return response


def _shown(file: File) -> wire.Json:
    return {
        "fileOid": file.lfs_sha256, "oid": file.lfs_sha256, "filename": file.path, "size": file.size_bytes,
        "pushedAt": wire.date(file.commit.recorded_at), "ref": None,
    }  # fmt: skip
