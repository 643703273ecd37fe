"""Why changes cannot become a commit, each with its facts. Nothing was changed when one is raised."""

from registry.models import Commit, Repo


class CommitRefused(Exception):
    """The changes cannot be made; nothing was changed. `code` is stable."""

    code = "commit-refused"


class EntryMissing(CommitRefused):
    """A path that is to be deleted is not there."""

    code = "entry-missing"

    def __init__(self, repo: Repo, path: str, commit: Commit | None) -> None:
        at = f"@{commit.commit_hash[:12]}" if commit else ""
        super().__init__(
            f"{path!r} does not exist in {repo.repo_id}{at}, so it cannot be deleted. Nothing was changed."
        )
        self.path, self.commit = path, commit


class PathConflict(CommitRefused):
    """One path would be a file and a folder."""

    code = "path-conflict"

    def __init__(self, repo: Repo, path: str, folder: str) -> None:
        super().__init__(
            f"{path!r} cannot be in {repo.repo_id}: {folder!r} is a file there. Delete that file in the same commit."
        )
        self.path, self.folder = path, folder


class BranchMoved(CommitRefused):
    """The branch does not name the commit that the changes are meant for."""

    code = "branch-moved"

    def __init__(self, repo: Repo, expected: str, actual: Commit | None) -> None:
        # The first two sentences are the Hub's own; clients compare them.
        super().__init__(
            "The branch was updated since you opened this page. Please refresh and try again. "
            f"{repo.repo_id}: the changes are for {expected[:12]}, the branch names "
            f"{actual.commit_hash[:12] if actual else 'nothing yet'}."
        )
        self.expected, self.actual = expected, actual


class BytesGone(CommitRefused):
    """Bytes that were in the store when they were offered are there no more: the sweeper came between."""

    code = "bytes-gone"

    def __init__(self, repo: Repo, path: str) -> None:
        super().__init__(
            f"the bytes of {path!r} for {repo.repo_id} left the blob store meanwhile. Send them again."
        )
        self.path = path


class BranchBusy(CommitRefused):
    """Others kept moving the branch."""

    code = "branch-busy"


class RepoGone(CommitRefused):
    """The repo was deleted while a commit was made."""

    code = "repo-gone"

    def __init__(self, repo: Repo) -> None:
        super().__init__(
            f"Repository not found: {repo.repo_id} was deleted meanwhile. Nothing was committed."
        )


class Incomplete(CommitRefused):
    """The commit to build upon is not held with all its files."""

    code = "incomplete"

    def __init__(self, commit: Commit) -> None:
        super().__init__(
            f"not every file of {commit.commit_hash[:12]} is held here yet, so nothing can be committed on top "
            "of it. Mirror the repo first."
        )
        self.commit = commit
