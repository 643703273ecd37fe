"""Which cached repos the index has moved on from: one request per repo, several at once.

Asked is the branch `main` if it is here, otherwise a ref of the newest commit. A commit that was pulled by its hash is
what it is and never outdated. Each name is asked where a pull would ask: the first index that knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial as bind
from typing import Any

from holdfast.cache.installed import Snapshot
from holdfast.errors import HoldfastError, NetworkError, NotFound, Offline
from holdfast.fetching.workers import worker_threads
from holdfast.output import Output
from holdfast.reference import DEFAULT_REVISION, is_revision
from holdfast.settings import Settings
from holdfast.sources.indexes import Indexes, open_indexes


@dataclass(frozen=True)
class Asked:
    """What the index says of one ref. `state` is current, outdated, gone (it knows no such repo or ref) or unknown."""

    repo_id: str
    revision: str
    commit: str
    current_commit: str | None
    state: str
    error: HoldfastError | None = None

    def as_json(self) -> dict[str, Any]:
        """The object in the list `repos`."""
        return {
            "repo_id": self.repo_id,
            "revision": self.revision,
            "commit": self.commit,
            "current_commit": self.current_commit,
            "state": self.state,
            "reason": None if self.error is None else self.error.message,
        }


def ask_index(snapshots: Iterable[Snapshot], settings: Settings, out: Output) -> list[Asked]:
    """The answer for every repo with a ref, in order. Raises the first error if the network lets nobody be asked."""
    if settings.offline:
        raise Offline("--outdated asks the index, and this is offline", hint="Run it without --offline.")
    refs = _refs(snapshots)
    indexes = open_indexes(settings, out)
    with worker_threads(settings.max_workers, "ask") as pool:
        answers = list(pool.map(bind(_ask, indexes), refs))
    errors = [answer.error for answer in answers if isinstance(answer.error, NetworkError)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers


def _refs(snapshots: Iterable[Snapshot]) -> list[tuple[str, str, str]]:
    """(repo_id, ref, commit) of each repo."""
    found: dict[str, tuple[str, str, str]] = {}
    for one in snapshots:
        refs = [ref for ref in one.refs if is_revision(ref)]
        ref = DEFAULT_REVISION if DEFAULT_REVISION in refs else next(iter(refs), None)
        repo_id = one.repo.repo_id
        if ref is not None and (repo_id not in found or ref == DEFAULT_REVISION):
            found[repo_id] = (repo_id, ref, one.commit)
    return list(found.values())


def _ask(indexes: Indexes, ref: tuple[str, str, str]) -> Asked:
    """Of its own choice among the sources, so that no repo waits until another is found."""
    repo_id, revision, commit = ref
    try:
        current = Indexes(indexes.sources).resolve(repo_id, revision)
    except NotFound as error:
        return Asked(repo_id, revision, commit, None, "gone", error)
    except HoldfastError as error:
        return Asked(repo_id, revision, commit, None, "unknown", error)
    return Asked(repo_id, revision, commit, current, "current" if current == commit else "outdated")
