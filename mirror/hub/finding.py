"""From the names in a URL to rows: repo, then revision, then file, each refused in the words clients know.

Percent-encoding is undone exactly once. A revision is one segment of the URL as it was sent (`refs%2Fpr%2F1`), but a
WSGI server hands Django a path in which that is no longer visible. So the raw path is read where the server keeps
it (gunicorn: RAW_URI; uWSGI, mod_wsgi: REQUEST_URI); elsewhere the longest known branch or tag that the path starts
with is the revision.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, unquote

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import HttpRequest

from mirror.hub.asking import sent_path
from mirror.hub.errors import HubError, entry_not_found, gated, repo_not_found, revision_not_found, warn
from mirror.hub.pulling import bring, newer
from mirror.owners import held_reason, warning_of
from registry.access import Somebody, may_read_files, visible_repos
from registry.models import Commit, File, Ref, Repo
from registry.prepared import Prepared
from registry.repos import find_moved
from registry.revisions import DEFAULT, RevisionNotFound, resolve_revision

_TOLD = [f"head__{name}" for name in ("parents", "tags", "card_data", "facts")]
MOST_SEGMENTS = 12  # of a revision: branch names are rarely deeper than two


@dataclass(frozen=True)
class Place:
    """A path in a commit of a repo; the path may name nothing. `revision` is what the person gave."""

    repo: Repo
    revision: str
    commit: Commit
    path: str

    @property
    def is_pinned(self) -> bool:
        """Whether the URL says the commit itself, so that the answer never changes."""
        return self.revision == self.commit.commit_hash


def find_repo(
    request: HttpRequest, user: Somebody, repo_type: str, repo_id: str, *, is_reading: bool = False,
    light: bool = False,
) -> Repo:  # fmt: skip
    """The repo, if `user` may know of it, as `find_called` finds it; under another name than its own a 307 to that."""
    repo = find_called(request, user, repo_type, repo_id, is_reading=is_reading, light=light)
    if repo.repo_id != repo_id:
        message = f"{repo_id} is called {repo.repo_id}."
        raise HubError(307, message, Location=_respelled(request, repo_id, repo.repo_id))
    return repo


def find_called(
    request: HttpRequest, user: Somebody, repo_type: str, repo_id: str, *, is_reading: bool = False,
    light: bool = False,
) -> Repo:  # fmt: skip
    """The repo, if `user` may know of it, under whatever name it has by now. One query, two if it is called otherwise.

    The case of letters does not matter, and the name it had before it was moved is as good as its own.
    GET and HEAD, and whoever says that it `is_reading`, bring a repo from upstream that is not here.
    With `light` what its head says of itself, its card and facts, follows on access.
    """
    repo = _look_up(user, repo_type, repo_id, light=light)
    repo = repo or find_moved(user, repo_type, repo_id)
    if repo is None and "\0" not in repo_id and (is_reading or request.method in ("GET", "HEAD")):
        repo = _look_up(user, repo_type, bring(request, repo_type, repo_id, _segments(request)))
    if repo is None:
        raise repo_not_found(user, repo_id)
    warn(request, warning_of(repo_id, getattr(repo, "held_reason", None)))
    return repo


def _look_up(user: Somebody, repo_type: str, repo_id: str, *, light: bool = False) -> Repo | None:
    """The repo of that id, if `user` may know of it, with `main` and why it is held. One query."""
    if "\0" in repo_id:
        return None
    found = _by_id(repo_type, user.is_authenticated, user.is_superuser, light)(
        repo_id=repo_id.lower(), user=user.pk or 0
    )
    return found[0] if found else None


@cache
def _by_id(repo_type: str, has_account: bool, is_superuser: bool, light: bool) -> Prepared[Repo]:
    def build(repo_id: str, user: int) -> QuerySet[Repo]:
        who = User(pk=user, is_superuser=is_superuser) if has_account else AnonymousUser()
        repos = visible_repos(who, repo_type).annotate(held_reason=held_reason())
        repos = repos.with_main().by_id(repo_id)
        return (repos.defer(*_TOLD) if light else repos)[:1]

    return Prepared(build, repo_id=str, user=int)


def find_commit(repo: Repo, revision: str, *, light: bool = False) -> Commit:
    """The commit of a revision; of a pulled-through repo, as upstream has it.

    No query for `main` of a repo that `find_repo` found, one for another name or a full hash.
    """
    held = repo.main if revision == DEFAULT else None
    if held:
        return newer(repo, revision, held) or held
    with suppress(RevisionNotFound):
        held = None if "\0" in revision else resolve_revision(repo, revision, light=light)
    if commit := newer(repo, revision, held) or held:
        return commit
    raise revision_not_found(repo.repo_id, revision)


def find_place(request: HttpRequest, repo: Repo, rest: str, *, light: bool = False) -> Place:
    """What `rest`, the end of the URL after the endpoint's name, means: revision and path."""
    exact = _raw_segments(request, rest)
    if exact is None:
        return _guess_place(repo, rest, light)
    revision, path = exact[0], "/".join(exact[1:]).rstrip("/")
    try:
        return Place(repo, revision, find_commit(repo, revision, light=light), path)
    except HubError as error:
        if not path or error.status != 404:
            raise
        return _guess_place(repo, rest, light)  # people type resolve/refs/pr/1/… with plain slashes


_files_at: Prepared[File] = Prepared(
    lambda commit, path: File.objects.filter(commit=commit, path=path).select_related("blob"),
    commit=int,
    path=str,
)


def find_file(place: Place) -> File:
    """The file that is there, with its blob. One query."""
    if "\0" not in place.path and (files := _files_at(commit=place.commit.pk, path=place.path)):
        return files[0]
    raise entry_not_found(place.repo.repo_id, place.commit.commit_hash, place.path)


def check_may_read(user: Somebody, repo: Repo) -> None:
    """Raises the GatedRepo answer unless `user` may have the files of this repo."""
    if not may_read_files(user, repo):
        raise gated(user, repo)


def _guess_place(repo: Repo, rest: str, light: bool) -> Place:
    """The longest branch or tag that the path starts with, else its first segment, is the revision."""
    segments = rest.split("/")
    starts = ["/".join(segments[:count]) for count in range(1, min(len(segments), MOST_SEGMENTS) + 1)]
    known = _known_refs(repo, starts) if len(starts) > 1 else set()
    revision = max((start for start in starts if start in known), key=len, default=starts[0])
    return Place(
        repo, revision, find_commit(repo, revision, light=light), rest[len(revision) + 1 :].rstrip("/")
    )


def _known_refs(repo: Repo, starts: list[str]) -> set[str]:
    """Those of the names that are branches or tags, in short or in full, or pull requests, in full. One query."""
    names = {_without_folder(start) for start in starts if "\0" not in start}
    rows = Ref.objects.filter(repo=repo, name__in=names).only("kind", "name")
    short = {row.name for row in rows if row.kind != Ref.Kind.PULL_REQUEST}
    return short | {row.full_name for row in rows}


def _without_folder(name: str) -> str:
    return next((name.removeprefix(start) for start in Ref.FOLDERS.values() if name.startswith(start)), name)


def _segments(request: HttpRequest) -> list[str]:
    """What the URL says behind the endpoint's name: a revision, and perhaps a path."""
    rest = request.resolver_match.kwargs.get("rest", "") if request.resolver_match else ""
    return (_raw_segments(request, rest) or rest.split("/")) if rest else []


def _raw_segments(request: HttpRequest, rest: str) -> list[str] | None:
    """The segments of `rest` as they were sent, each decoded once; None if the server did not keep them."""
    raw = sent_path(request)
    if raw is None or not request.path.endswith(rest):
        return None
    n_before = request.path[: len(request.path) - len(rest)].count("/")
    segments = [unquote(segment) for segment in raw.split("/")[n_before:]]
    return segments if "/".join(segments) == rest else None


def _respelled(request: HttpRequest, asked: str, right: str) -> str:
    """The same URL with the repo's true name: relative, so that it stays on the host that was asked."""
    sent, query = sent_path(request) or "", request.META.get("QUERY_STRING", "")
    # A name that was sent percent-encoded stands only in the decoded path.
    path = sent if f"/{asked}" in sent else quote(request.path)
    return path.replace(f"/{asked}", f"/{right}", 1) + (f"?{query}" if query else "")
