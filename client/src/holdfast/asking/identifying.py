"""What a stray file is: its digest, what the indexes know of those bytes, and what its own header says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.asking.headers import Header, read_header
from holdfast.asking.local_files import hash_local
from holdfast.asking.told import as_dict, text
from holdfast.fetching.hashing import Digests
from holdfast.output import Output
from holdfast.paths import check_path
from holdfast.reference import is_repo_id
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.sources.indexes import hub_urls, open_index
from holdfast.sources.remote import COMMIT

MAX_PLACES = 100


@dataclass(frozen=True)
class Place:
    """Where the same bytes lie: a path of a commit. `is_head` if that is what `main` names."""

    repo_id: str
    repo_type: str
    commit: str
    path: str
    is_head: bool


@dataclass(frozen=True)
class Known:
    """What one index knows of the bytes."""

    index_url: str
    places: tuple[Place, ...]
    verdict: str | None
    verified_at: str | None
    parents: tuple[tuple[str, str], ...]  # (repo_id, relation) of the first place


@dataclass(frozen=True)
class Identified:
    """One file. `known` is None if no index knows the bytes, `header` if the format cannot be told."""

    path: Path
    digests: Digests
    known: Known | None
    header: Header | None

    def as_json(self) -> dict[str, Any]:
        """The object in the list `files`."""
        known = self.known
        return {
            "path": str(self.path),
            "size_bytes": self.digests.size_bytes,
            "sha256": self.digests.sha256,
            "git_oid": self.digests.git_oid,
            "known": known is not None,
            "index": known.index_url if known else None,
            "places": [vars(place) for place in known.places] if known else [],
            "verdict": known.verdict if known else None,
            "verified_at": known.verified_at if known else None,
            "parents": [{"repo_id": name, "relation": how} for name, how in known.parents] if known else [],
            "header": vars(self.header) if self.header else None,
        }


def identify(path: Path, settings: Settings, out: Output) -> Identified:
    """Hashes the file and asks every configured index in turn, the first that knows it answers; offline, nobody.

    Raises NotFound or Unreadable for the file itself, and what kept an index from answering.
    """
    digests = hash_local(path)
    known = None
    for url in () if settings.offline else hub_urls(settings):
        known = known or find_bytes(open_index(url, settings, out), digests.sha256)
    return Identified(path, digests, known, read_header(path))


def find_bytes(hub: Hub, sha256: str) -> Known | None:
    """Where an index has these bytes; None if it has not, or is no Holdfast index."""
    found = as_dict(hub.ask(f"files/{sha256}"))
    rows = found.get("files")
    places = [_place(as_dict(row)) for row in rows[:MAX_PLACES]] if isinstance(rows, list) else []
    usable = tuple(place for place in places if place is not None)
    if not usable:
        return None
    return Known(
        hub.index_url,
        usable,
        text(found.get("verdict")),
        text(found.get("verified_at")),
        _parents(hub, usable[0]) if usable[0].repo_type == "model" else (),
    )


def _place(row: Mapping[str, Any]) -> Place | None:
    repo_id, commit, path = row.get("repo_id"), row.get("commit"), row.get("path")
    if not (
        is_repo_id(repo_id) and isinstance(commit, str) and COMMIT.match(commit) and isinstance(path, str)
    ):
        return None
    checked = check_path(path, listed_by=f"{repo_id}@{commit[:12]}")
    return Place(
        str(repo_id), text(row.get("repo_type")) or "model", commit, checked, row.get("is_head") is True
    )


def _parents(hub: Hub, place: Place) -> tuple[tuple[str, str], ...]:
    rows = as_dict(hub.ask(f"lineage/{place.repo_id}")).get("parents")
    found = [as_dict(row) for row in rows[:MAX_PLACES]] if isinstance(rows, list) else []
    return tuple(
        (str(row["repo_id"]), text(row.get("relation")) or "related")
        for row in found
        if is_repo_id(row.get("repo_id"))
    )
