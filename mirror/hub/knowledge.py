"""What the catalog knows, for programs: relatives of a repo, how a commit is kept, whose a digest is.

GET lineage/{org}/{name}     what it was made from and what was made of it
GET copies/{org}/{name}      how the bytes of a commit are kept, and where else they come from
GET files/{digest}           where bytes of that sha256, or git oid, lie
"""

import re
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.doors import door
from mirror.hub.errors import HubError, bad_request
from mirror.hub.finding import find_commit, find_repo
from registry.access import Somebody, visible_parents, visible_repos
from registry.gates import standings
from registry.keeping import kept_state
from registry.models import Blob, File, Lineage, Repo, Upstream
from registry.revisions import DEFAULT

MOST_EDGES = 1000
MOST_PLACES = 100
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Json = dict[str, Any]


@door("GET")
def show_lineage(request: HttpRequest, user: Somebody, *, namespace: str, name: str) -> HttpResponse:
    """The edges of a repo that the caller may know of, at most 1000 in each direction."""
    repo = find_repo(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    parents = visible_parents(user, Lineage.objects.filter(child=repo).order_by("pk"), MOST_EDGES)
    made = Lineage.objects.filter(parent=repo, child__in=visible_repos(user).values("pk"))
    children = made.select_related("child", "child_commit").order_by("child__repo_id", "pk")[:MOST_EDGES]
    return JsonResponse(
        {
            "repo_id": repo.repo_id,
            "parents": [
                _edge(edge, edge.parent_repo_id, is_held=edge.parent is not None) for edge in parents
            ],
            "children": [_edge(edge, edge.child.repo_id, is_held=True) for edge in children],
        }
    )


@door("GET")
def show_copies(request: HttpRequest, user: Somebody, *, namespace: str, name: str) -> HttpResponse:
    """How the bytes of `revision` (default main) are kept."""
    repo = find_repo(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    commit = find_commit(repo, request.GET.get("revision") or DEFAULT)
    kept = kept_state(commit)
    files = File.objects.filter(commit=commit)
    return JsonResponse(
        {
            "repo_id": repo.repo_id,
            "commit": commit.commit_hash,
            "is_complete": commit.is_complete,
            "n_files": commit.n_files,
            "n_files_upstream_only": files.filter(blob=None).count(),
            "size_bytes": commit.size_bytes,
            "blobs": {"total": kept.n_blobs, "present": kept.n_present, "never_checked": kept.n_unchecked},
            "stores": kept.stores,
            "oldest_check": _date(kept.oldest_check),
            "newest_check": _date(kept.newest_check),
            "recorded_at": _date(commit.recorded_at),
            "upstream": upstream_json(repo),
        }
    )


@door("GET")
def find_bytes(request: HttpRequest, user: Somebody, *, digest: str) -> HttpResponse:
    """What bytes of this digest are, and where they lie in repos that the caller may see; 404 if in none."""
    if not _DIGEST.fullmatch(digest):
        raise bad_request(f"{digest:.80} is neither a sha256 (64 hex digits) nor a git oid (40).")
    places = _places(user, digest)[:MOST_PLACES]
    if not places:
        raise HubError(
            404, f"No file of a repo that you may see has the digest {digest}.", code="EntryNotFound"
        )
    first = places[0]
    held = standings([first.blob.pk]) if first.blob else {}
    return JsonResponse(
        {
            "sha256": first.sha256,
            "git_oid": first.blob.git_oid if first.blob else None,
            "size_bytes": first.size_bytes,
            "state": first.blob.state if first.blob else "upstream",
            "verified_at": _date(first.blob.verified_at) if first.blob else None,
            "verdict": held[first.blob.pk].verdict if first.blob and first.blob.pk in held else None,
            "files": [_place(file) for file in places],
        }
    )


def _places(user: Somebody, digest: str) -> QuerySet[File]:
    """The newest commits first; those that a repo shows before older ones. One query."""
    repos = [visible_repos(user, repo_type).values("pk") for repo_type in Repo.Type]
    field = "sha256" if len(digest) == 64 else "git_oid"
    seen = File.objects.filter(commit__repo__in=repos[0]) | File.objects.filter(commit__repo__in=repos[1])
    held = seen.filter(blob__in=Blob.objects.filter(**{field: digest}).values("pk"))
    rows = held.select_related("blob", "commit__repo")
    return rows.order_by("-commit__recorded_at", "path")


def _place(file: File) -> Json:
    repo = file.commit.repo
    return {
        "repo_id": repo.repo_id,
        "repo_type": repo.repo_type,
        "commit": file.commit.commit_hash,
        "is_head": repo.head_id == file.commit_id,
        "path": file.path,
    }


def _edge(edge: Lineage, repo_id: str, *, is_held: bool) -> Json:
    return {
        "repo_id": repo_id,
        "relation": edge.relation,
        "evidence": edge.evidence,
        "is_held": is_held,
        "recorded_at": _date(edge.recorded_at),
    }


def upstream_json(repo: Repo) -> Json | None:
    """Where it was copied from; the paths of the operator's directories are nobody's business."""
    if repo.upstream is None:
        return None
    is_hub = repo.upstream.kind == Upstream.Kind.HUGGINGFACE
    return {
        "kind": repo.upstream.kind,
        "endpoint": repo.upstream.endpoint if is_hub else None,
        "repo_id": repo.upstream_repo_id if is_hub else None,
        "asked_at": _date(repo.synced_at),
        "answered_at": _date(repo.upstream.answered_at),
        "trouble": repo.upstream.trouble if is_hub else "",
    }


def _date(when: Any) -> str | None:
    return wire.date(when) if when else None
