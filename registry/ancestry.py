"""Which commits a commit follows, as its parents say."""

from registry.models import Commit, Repo


class Ancestry:
    """The parents of every commit of a repo. One query."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        rows = Commit.objects.filter(repo=repo).values_list("commit_hash", "parents")
        self._parents: dict[str, list[str]] = dict(rows)

    def of(self, commit: Commit) -> list[str]:
        """The hashes of the commit and of all that it follows, nearest first."""
        found = {commit.commit_hash: None}
        waiting = [commit.commit_hash]
        for one in waiting:  # grows while it is walked
            for parent in self._parents.get(one, []):
                if parent not in found:
                    found[parent] = None
                    waiting.append(parent)
        return list(found)

    def parting(self, one: Commit, other: Commit) -> Commit | None:
        """The nearest commit that both follow; None if they share no history."""
        theirs = set(self.of(other))
        shared = next((name for name in self.of(one) if name in theirs), None)
        return Commit.objects.filter(repo=self._repo, commit_hash=shared).first() if shared else None
