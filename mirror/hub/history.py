"""The commits of a repo that we hold, newest first, and which of them last changed a file."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import takewhile
from pathlib import PurePosixPath

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from registry.ancestry import Ancestry
from registry.models import Commit, File

Contents = Mapping[tuple[int, str], object]
"""{(commit, path): what was there}."""

MOST_COMMITS = 200  # looked through for the last change of a file
MOST_FILES = 100_000  # of all those commits together, for that of a folder


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


def last_changes(commit: Commit, files: Iterable[File], folders: Collection[str] = ()) -> dict[str, Commit]:
    """{path: the oldest commit of the recent history from which on it is what it is now}, of files and of folders.

    One query for the history, one for files and one for folders. For folders it looks through fewer commits where
    they have many files.
    """
    commits = list(history(commit)[:MOST_COMMITS])
    paths = [file.path for file in files]
    files_held = _files_of(commits, paths) if paths else {}
    found = {path: _oldest_same(commits, path, files_held) for path in paths}
    if folders:
        recent = commits[: MOST_FILES // max(commit.n_files, 1) + 1]
        held = _contents_of(recent, set(folders))
        found |= {folder: _oldest_same(recent, folder, held) for folder in folders}
    return found


def _files_of(commits: list[Commit], paths: Iterable[str]) -> Contents:
    rows = File.objects.filter(commit__in=commits, path__in=paths)
    return {
        (commit_id, path): oid for commit_id, path, oid in rows.values_list("commit_id", "path", "git_oid")
    }


def _contents_of(commits: list[Commit], folders: set[str]) -> Contents:
    """{(commit, folder): every file below it}."""
    held: dict[tuple[int, str], set[tuple[str, str]]] = defaultdict(set)
    rows = File.objects.filter(commit__in=commits).values_list("commit_id", "path", "git_oid")
    for commit_id, path, oid in rows.iterator():
        for folder in folders.intersection(map(str, PurePosixPath(path).parents)):
            held[commit_id, folder].add((path, oid))
    return held


def _oldest_same(commits: list[Commit], path: str, held: Contents) -> Commit:
    """The last commit of those that begin the history with the same content under the path."""
    now = held.get((commits[0].pk, path))
    return list(takewhile(lambda old: held.get((old.pk, path)) == now, commits))[-1]
