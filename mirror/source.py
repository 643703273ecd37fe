"""Where a mirrored repo comes from and what it is called here."""

import re
from dataclasses import dataclass, replace

from mirror.upstream import UpstreamRef
from registry.models import Commit, Repo
from registry.models.repo import RESERVED_NAMESPACES
from registry.work import JobFailed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a repo comes from and what it is called here (empty until upstream has spelled its own name)."""

    ref: UpstreamRef
    repo_id: str

    def named(self, upstream_repo_id: str) -> "Source":
        """With a name for this side, and upstream's own spelling for the other. Raises JobFailed for a bad name."""
        repo_id = self.repo_id or upstream_repo_id
        namespace, slash, name = repo_id.partition("/")
        is_reserved = namespace.lower() in RESERVED_NAMESPACES
        if not slash or is_reserved or not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
            raise JobFailed(
                "bad-repo-id",
                f"{repo_id!r} cannot be the name of a repo here; choose one like org/name with --as"
                + (f" ({namespace}/ is a page of this service)." if is_reserved else "."),
            )
        return replace(self, repo_id=repo_id, ref=replace(self.ref, repo_id=upstream_repo_id))

    def __str__(self) -> str:
        return str(self.ref)


def find_commit(source: Source, commit_hash: str) -> Commit | None:
    """The commit, if the repo holds it already. At most two queries."""
    repo = find_repo(source)
    if repo is None:
        return None
    return Commit.objects.filter(repo=repo, commit_hash=commit_hash).select_related("repo").first()


def find_repo(source: Source) -> Repo | None:
    """The repo of that name, whatever the case of its letters. One query."""
    found = Repo.objects.by_id(source.repo_id).filter(repo_type=source.ref.repo_type)
    return found.select_related("upstream").first()
