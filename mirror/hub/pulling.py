"""Pull-through behind the doors: what is not here, or may be old, is asked of upstream before the answer."""

from django.http import HttpRequest

from mirror.hub.errors import revision_not_found, upstream_trouble
from mirror.through.asking import NoSuchRevision, UpstreamTrouble, ask_again, bring_repo
from registry.models import Commit, Repo
from registry.revisions import DEFAULT


def bring(request: HttpRequest, repo_type: str, repo_id: str, segments: list[str]) -> str:
    """Looks upstream for a repo that is not here; the name under which it is here now, or the one that was asked for.

    `segments` are those of the URL behind the endpoint's name, each decoded once: they begin with the revision.
    Raises the answer where upstream cannot give one, or lacks that revision.
    """
    revision = _revision(request, segments)
    try:
        return bring_repo(repo_type, repo_id, revision) or repo_id
    except NoSuchRevision:
        raise revision_not_found(repo_id, revision) from None
    except UpstreamTrouble as trouble:
        raise upstream_trouble(trouble) from trouble


def newer(repo: Repo, revision: str, held: Commit | None) -> Commit | None:
    """What the revision means upstream now, if that was due to be asked and anybody could say; else None.

    With `held`, the commit it means here, trouble upstream is no trouble: that one is served. No query, and nothing,
    for a repo of our own.
    """
    is_final = held is not None and held.commit_hash.startswith(revision)
    try:
        found = ask_again(repo, revision, has_answer=held is not None, is_final=is_final)
    except NoSuchRevision:
        return None
    except UpstreamTrouble as trouble:
        raise upstream_trouble(trouble) from trouble
    if found:
        found.repo = repo
    return found


def refresh_head(repo: Repo) -> Commit | None:
    """`main` as upstream has it now; where that cannot be said, as it is here."""
    return newer(repo, DEFAULT, repo.head) or repo.head


def _revision(request: HttpRequest, segments: list[str]) -> str:
    if not segments:
        return request.GET.get("revision") or DEFAULT
    return "/".join(segments[:3]) if segments[0] == "refs" else segments[0]
