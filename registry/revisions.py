"""From the string a person gives to a commit: the one place."""

import re

from registry.models import Commit, Ref, Repo

DEFAULT = "main"
_ABBREVIATED = re.compile(r"[0-9a-f]{7,40}")


class RevisionNotFound(Exception):
    """The repo has no branch, tag or commit of that name."""

    code = "revision-not-found"

    def __init__(self, repo_id: str, revision: str) -> None:
        super().__init__(
            f"{repo_id} has no revision {revision!r} here. Its branches and tags are listed at /{repo_id}/commits."
        )
        self.repo_id, self.revision = repo_id, revision


def resolve_revision(repo: Repo, revision: str = DEFAULT) -> Commit:
    """The commit that a branch, a tag, a full ref path or a (shortened, at least 7 digits) hash means.

    A branch wins over a tag, a name over a hash. Raises RevisionNotFound, also when a shortened hash is
    ambiguous. At most two queries.
    """
    kind, name = _split_ref(revision)
    refs = Ref.objects.filter(repo=repo, name=name).select_related("commit").order_by("kind")
    if ref := (refs.filter(kind=kind) if kind else refs).first():
        ref.commit.repo = repo
        return ref.commit
    if _ABBREVIATED.fullmatch(revision):
        found = Commit.objects.filter(repo=repo, commit_hash__startswith=revision)[:2]
        if len(found) == 1:
            found[0].repo = repo
            return found[0]
    raise RevisionNotFound(repo.repo_id, revision)


def _split_ref(revision: str) -> tuple[str | None, str]:
    if revision.startswith("refs/heads/"):
        return Ref.Kind.BRANCH, revision.removeprefix("refs/heads/")
    if revision.startswith("refs/tags/"):
        return Ref.Kind.TAG, revision.removeprefix("refs/tags/")
    return None, revision
