"""From the string a person gives to a commit: the one place."""

import re

from registry.models import Commit, Ref, Repo

DEFAULT = "main"
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_FULL = re.compile(r"[0-9a-f]{40}")
_LIGHT = ("repo", "commit_hash", "title", "committed_at", "recorded_at", "n_files")


class RevisionNotFound(Exception):
    """The repo has no branch, tag or commit of that name."""

    code = "revision-not-found"

    def __init__(self, repo_id: str, revision: str) -> None:
        super().__init__(
            f"{repo_id} has no revision {revision!r} here. Its branches and tags are listed at /{repo_id}/commits."
        )
        self.repo_id, self.revision = repo_id, revision


def resolve_revision(repo: Repo, revision: str = DEFAULT, *, light: bool = False) -> Commit:
    """The commit that a branch, a tag, a full ref path or a (shortened, at least 7 digits) hash means.

    A pull request is only meant by its full path, `refs/pr/<number>`.

    A full hash means that commit and nothing else, as in git: what is served under it may be cached for ever.
    Otherwise a branch wins over a tag, a name over a shortened hash. Raises RevisionNotFound, also when a
    shortened hash is ambiguous. One query for a name or a full hash, two for a shortened one.
    With `light` only what identifies the commit is loaded; its card and facts follow on access.
    """
    if _FULL.fullmatch(revision):
        return _commit_by_hash(repo, revision, light)
    kind, name = _split_ref(revision)
    refs = Ref.objects.filter(repo=repo, name=name).select_related("commit").order_by("kind")
    if light:
        refs = refs.only("commit", *(f"commit__{field}" for field in _LIGHT))
    if ref := (refs.filter(kind=kind) if kind else refs.exclude(kind=Ref.Kind.PULL_REQUEST)).first():
        ref.commit.repo = repo
        return ref.commit
    if _ABBREVIATED.fullmatch(revision):
        return _commit_by_hash(repo, revision, light)
    raise RevisionNotFound(repo.repo_id, revision)


def _commit_by_hash(repo: Repo, start: str, light: bool) -> Commit:
    commits = Commit.objects.filter(repo=repo)
    commits = commits.only(*_LIGHT) if light else commits
    whole = _FULL.fullmatch(start)
    found = commits.filter(commit_hash=start) if whole else commits.filter(commit_hash__startswith=start)
    if len(found := found[:2]) != 1:
        raise RevisionNotFound(repo.repo_id, start)
    found[0].repo = repo
    return found[0]


def _split_ref(revision: str) -> tuple[str | None, str]:
    for kind, folder in Ref.FOLDERS.items():
        if revision.startswith(folder):
            return kind, revision.removeprefix(folder)
    return None, revision
