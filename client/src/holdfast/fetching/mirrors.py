"""The bytes of one plan from several sources at once.

The index that named the digests stays the authority: no other source is believed about anything, and what it sends is
verified like everything else. Others come in where they help:

- a large file that is read over several connections is spread over all sources that hold the same digest;
- where the authority fails, in the middle of a file or from the start, the others serve the rest.

Who holds a digest is asked in the background for large files, and otherwise only when it is needed. A source that fails
is left alone for a while; when all have failed, all are tried again, as often as `--retries` says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial as bind
from typing import Callable

from holdfast.errors import HoldfastError
from holdfast.fetching.plan import Plan
from holdfast.network.transport import Answer
from holdfast.sources.hub import Hub
from holdfast.sources.indexes import Indexes
from holdfast.sources.remote import RemoteFile
from holdfast.sources.source import OpenRange, Source
from holdfast.text import printable

# A file that is never read in more than one part is not worth asking around for.
SPREAD_BYTES = 16 * 1024 * 1024
REST_SECONDS = 20.0


class Holder:
    """One source, as far as one plan is concerned."""

    def __init__(self, source: Source, authority: Source, repo_id: str, commit: str) -> None:
        self.source = source
        self.is_authority = source is authority
        self._authority = authority
        self.n_open = 0
        self.resting_until = 0.0
        self.is_banned = False
        self.served: set[str] = set()  # paths of which it gave bytes
        self._repo_id, self._commit = repo_id, commit
        self._found: dict[str, OpenRange | None] = {}
        self._lock = threading.Lock()

    def known(self, file: RemoteFile) -> OpenRange | None:
        """How to read the file here, as far as that has been found out. Asks nobody."""
        if self.is_authority:
            return bind(self.source.open_file, self._repo_id, self._commit, file.path)
        return self._found.get(file.path)

    def may_hold(self, file: RemoteFile) -> bool:
        """False once it is known that the file is not here."""
        return self.is_authority or self._found.get(file.path, self) is not None

    def find(self, file: RemoteFile) -> OpenRange | None:
        """How to read the file here; asks the source, once per file. One that cannot answer does not hold it."""
        if self.is_authority:
            return self.known(file)
        with self._lock:
            if file.path not in self._found:
                try:
                    repo_id = self._repo_id if self._may_hear_the_name() else None
                    self._found[file.path] = self.source.find(repo_id, self._commit, file)
                except HoldfastError as error:
                    self._found[file.path] = None
                    self.rest(error)  # who is down is not asked for the next file at once
            return self._found[file.path]

    def _may_hear_the_name(self) -> bool:
        """A folder of this machine tells nobody. Others are asked for a file of a private repo by its digest alone."""
        if self.source.index_url.startswith("file:") or not isinstance(self._authority, Hub):
            return True
        return not self._authority.is_private(self._repo_id)

    def rest(self, error: HoldfastError) -> None:
        """It failed: others are asked first for a while, or as long as it asked for."""
        pause = error.facts.get("retry_after_seconds")
        self.resting_until = time.monotonic() + (REST_SECONDS if pause is None else float(pause))


class Mirrors:
    """The opener of one plan: picks a source for every request."""

    def __init__(
        self, authority: Source, others: Sequence[Source], plan: Plan, say: Callable[[str], None]
    ) -> None:
        repo_id, commit = plan.selection.repo_id, plan.selection.commit
        self._holders = [Holder(one, authority, repo_id, commit) for one in (authority, *others)]
        self._files = {file.path: file for file in plan.files}
        self._asked_around: set[str] = set()
        self._say = say
        self._lock = threading.Lock()

    @contextmanager
    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> Iterator[Answer]:
        """Bytes [start, end) from the source with least to do. An error inside the block is the source's failure."""
        file = self._files[path]
        with ExitStack() as stack:
            holder, answer = self._open(stack, file, start, end)
            holder.served.add(path)
            try:
                yield answer
            except HoldfastError as error:
                self._failed(holder, file, error)
                error.retryable = error.retryable or self._has_another(holder, file)
                raise
            finally:
                self._let_go(holder)

    def doubt(self, path: str) -> bool:
        """Bans every source but the authority that gave bytes of this file; whether there was one."""
        culprits = [one for one in self._holders[1:] if path in one.served]
        for holder in culprits:
            holder.served.discard(path)
            if not holder.is_banned:
                holder.is_banned = True
                where = printable(holder.source.index_url)
                self._say(
                    f"{printable(path)} came out wrong: {where} gave part of it and is not asked any more"
                )
        return bool(culprits)

    def _open(self, stack: ExitStack, file: RemoteFile, start: int, end: int | None) -> tuple[Holder, Answer]:
        """Every source is tried once. If none can, the authority's own error counts."""
        self._ask_around(file)
        failures: dict[Holder, HoldfastError] = {}
        while (holder := self._pick(file, failures)) is not None:
            open_range = holder.find(file)
            try:
                if open_range is not None:
                    return holder, stack.enter_context(open_range(start, end))
            except HoldfastError as error:
                self._failed(holder, file, error)
                failures[holder] = error
            except BaseException:
                self._let_go(holder)
                raise
            self._let_go(holder)
        raise failures[self._holders[0]]

    def _pick(self, file: RemoteFile, failures: dict[Holder, HoldfastError]) -> Holder | None:
        """The source with least to do of those that hold the file; else one that must be asked; else a resting one."""
        with self._lock:
            left = [one for one in self._holders if one not in failures and not one.is_banned]
            left = [one for one in left if one.may_hold(file)]
            now = time.monotonic()
            holder = min(
                left,
                key=lambda one: (one.resting_until > now, one.known(file) is None, one.n_open),
                default=None,
            )
            if holder is not None:
                holder.n_open += 1
            return holder

    def _let_go(self, holder: Holder) -> None:
        with self._lock:
            holder.n_open -= 1

    def _failed(self, holder: Holder, file: RemoteFile, error: HoldfastError) -> None:
        """Said once per source: from now on others are asked first."""
        is_news = holder.resting_until == 0.0
        holder.rest(error)
        if is_news and len(self._holders) > 1:
            self._say(f"{printable(holder.source.index_url)} failed: {printable(error.message)}")

    def _has_another(self, failed: Holder, file: RemoteFile) -> bool:
        """Whether some other source holds the file, so that an error which is final here is not final."""
        others = [one for one in self._holders if one is not failed and not one.is_banned]
        return any(one.find(file) is not None for one in others)

    def _ask_around(self, file: RemoteFile) -> None:
        """Finds out in the background who else holds a large file."""
        if file.size_bytes <= SPREAD_BYTES or file.path in self._asked_around:
            return
        self._asked_around.add(file.path)
        for holder in self._holders[1:]:
            threading.Thread(target=holder.find, args=(file,), name="holdfast-mirror", daemon=True).start()


def open_mirrors(indexes: Indexes, plan: Plan, say: Callable[[str], None]) -> Mirrors:
    """The opener of a plan whose files the indexes listed. Asks them who answers for the repo, if nobody has yet."""
    authority = indexes.source_of(plan.selection.repo_id, plan.selection.commit)
    return Mirrors(authority, indexes.others(authority), plan, say)
