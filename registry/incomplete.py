"""Commits that are known but not held: what is made or judged needs every file of them."""

from registry.models import Commit


class CommitIncomplete(Exception):
    """Some files of the commit are only upstream yet."""

    code = "commit-incomplete"

    def __init__(self, commit: Commit, paths: list[str]) -> None:
        more = f" and {len(paths) - 1} more files" if len(paths) > 1 else ""
        super().__init__(
            f"{commit.repo.repo_id}@{commit.commit_hash[:8]}: only upstream has {paths[0]}{more} yet. "
            "`manage.py mirror` the repo, or download what is missing, then ask again."
        )
        self.commit, self.paths = commit, paths


def refuse_incomplete(commit: Commit) -> None:
    """Raises CommitIncomplete unless every file of the commit is held. No query for one that is complete."""
    if commit.is_complete:
        return
    paths = list(commit.files.filter(blob=None).order_by("path").values_list("path", flat=True))
    if paths:
        raise CommitIncomplete(commit, paths)
