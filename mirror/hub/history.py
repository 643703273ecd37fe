"""The commits of a repo that we hold, newest first, and which of them last changed a file."""

from collections.abc import Iterable
from itertools import takewhile

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from registry.ancestry import Ancestry
from registry.models import Commit, File

MOST_COMMITS = 200  # looked through for the last change of a file


def history(commit: Commit) -> QuerySet[Commit]:
    """The commit and every older one of its branch that we hold, newest first. One query, and lazily another.

    By its parents. A mirror has only the commits that were synced, so that chain has gaps: there, whatever is not
    younger counts.
    """
    when = commit.committed_at or commit.recorded_at
    commits = Commit.objects.filter(repo=commit.repo_id).annotate(
        when=Coalesce("committed_at", "recorded_at")
    )
    if commit.repo.upstream_id is None:
        older = commits.filter(commit_hash__in=Ancestry(commit.repo).of(commit))
    else:
        older = commits.filter(Q(when__lt=when) | Q(when=when, pk__lte=commit.pk))
    return older.order_by("-when", "-pk").defer(
        "card", "card_data", "facts", "upstream_info", "tags", "git_object"
    )


def last_changes(commit: Commit, files: Iterable[File]) -> dict[str, Commit]:
    """{path: the oldest commit of the recent history from which on the file is what it is now}. Two queries."""
    now = {file.path: file.git_oid for file in files}
    commits = list(history(commit)[:MOST_COMMITS])
    rows = File.objects.filter(commit__in=commits, path__in=now)
    held = {
        (commit_id, path): oid for commit_id, path, oid in rows.values_list("commit_id", "path", "git_oid")
    }
    found = {}
    for path, oid in now.items():
        same = takewhile(lambda old: held.get((old.pk, path)) == oid, commits)  # noqa: B023  # used at once
        found[path] = list(same)[-1]
    return found
