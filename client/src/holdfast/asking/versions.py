"""Which revisions and variants of a model an index has: branches, tags, recent commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from holdfast.asking.told import as_dict, text
from holdfast.cache.layout import RepoCache
from holdfast.choosing.choices import as_facts
from holdfast.choosing.selection import every_choice
from holdfast.errors import NotFound, Offline
from holdfast.output import Output
from holdfast.reference import Reference, is_revision
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.sources.indexes import open_source
from holdfast.sources.remote import COMMIT, Choice

MAX_REFS = 10_000


@dataclass(frozen=True)
class Revision:
    """A commit with the names that it has. `kind` is branch, tag or commit; `is_here` if the cache holds some of it."""

    name: str
    kind: str
    commit: str
    title: str | None = None
    date: str | None = None
    is_here: bool = False


@dataclass(frozen=True)
class Versions:
    """What there is of one model."""

    repo_id: str
    index_url: str
    revision: str
    revisions: tuple[Revision, ...]
    choices: tuple[Choice, ...]

    def as_json(self) -> dict[str, Any]:
        """The result of `index versions --json`."""
        return {
            "repo_id": self.repo_id,
            "index": self.index_url,
            "revision": self.revision,
            "revisions": [vars(one) for one in self.revisions],
            "variants": as_facts(self.choices),
        }


def list_versions(reference: Reference, settings: Settings, out: Output, *, n_commits: int) -> Versions:
    """Every branch and tag, the newest commits of the revision, and its variants. Raises NotFound, Offline."""
    if settings.offline:
        raise Offline("offline: versions are asked of an index", hint="holdfast list shows what is here.")
    repo_id, revision = reference.repo_id, reference.revision
    source = open_source(reference, settings, out).source_of(repo_id, revision)
    commit = source.resolve(repo_id, revision)
    listing = source.list_files(repo_id, commit)
    choices = every_choice(source, repo_id, revision, listing)
    found = _of_hub(source, repo_id, revision, n_commits) if isinstance(source, Hub) else []
    found = found or [Revision(revision, "branch", commit)]
    repo = RepoCache(settings.cache_dir, repo_id)
    return Versions(
        repo_id,
        source.index_url,
        revision,
        tuple(_with_place(one, repo) for one in found),
        tuple(choices),
    )


def _with_place(one: Revision, repo: RepoCache) -> Revision:
    is_here = repo.snapshot_path(one.commit).is_dir()
    return Revision(one.name, one.kind, one.commit, one.title, one.date, is_here)


def _of_hub(hub: Hub, repo_id: str, revision: str, n_commits: int) -> list[Revision]:
    refs = as_dict(hub.get(f"api/models/{repo_id}/refs", repo_id)[0])
    commits = _commits(hub, repo_id, revision, n_commits)
    named = [
        _with_words(one, commits)
        for key, kind in (("branches", "branch"), ("tags", "tag"))
        for one in _refs(refs.get(key), kind)
    ]
    seen = {one.commit for one in named}
    return named + [one for one in commits if one.commit not in seen]


def _refs(rows: object, kind: str) -> list[Revision]:
    found = [as_dict(row) for row in rows[:MAX_REFS]] if isinstance(rows, list) else []
    return [
        Revision(row["name"], kind, row["targetCommit"])
        for row in found
        if _is_commit(row.get("targetCommit"))
        and isinstance(row.get("name"), str)
        and is_revision(row["name"])
    ]


def _commits(hub: Hub, repo_id: str, revision: str, n_commits: int) -> list[Revision]:
    """The newest commits; none on a hub that does not tell them."""
    if n_commits == 0:
        return []
    path = f"api/models/{repo_id}/commits/{quote(revision, safe='')}?limit={n_commits}"
    try:
        rows, _next = hub.get(path, f"{repo_id}@{revision}")
    except NotFound:
        return []
    found = [as_dict(row) for row in rows[:n_commits]] if isinstance(rows, list) else []
    return [
        Revision(row["id"][:12], "commit", row["id"], text(row.get("title")), text(row.get("date")))
        for row in found
        if _is_commit(row.get("id"))
    ]


def _with_words(one: Revision, commits: list[Revision]) -> Revision:
    known: Mapping[str, Revision] = {commit.commit: commit for commit in commits}
    same = known.get(one.commit)
    return Revision(one.name, one.kind, one.commit, same.title, same.date) if same else one


def _is_commit(value: object) -> bool:
    return isinstance(value, str) and bool(COMMIT.match(value))
