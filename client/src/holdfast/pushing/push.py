"""Push one folder: ask, hash, send what is lacking, commit, and compare what the index lists with what was hashed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from holdfast.choosing.selection import Patterns
from holdfast.errors import HashMismatch, NotFound, Refused, UsageError
from holdfast.fetching.progress import Progress, open_progress
from holdfast.network.patience import with_patience
from holdfast.network.sending import post_json, read_json, refused
from holdfast.network.transport import Transport
from holdfast.output import Output
from holdfast.pushing.asking import Hashed, Wanted, ask_how, hash_all
from holdfast.pushing.commit import commit_body, commit_length
from holdfast.pushing.folder import LocalFile, files_below
from holdfast.pushing.objects import Store, ways_for
from holdfast.pushing.transfers import send_all
from holdfast.reference import Reference
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.sources.remote import COMMIT, RemoteFile
from holdfast.text import count, format_bytes, format_seconds, printable

NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Offer:
    """The flags of `push`."""

    patterns: Patterns
    message: str
    create: bool
    private: bool
    dry_run: bool


@dataclass(frozen=True)
class Pushed:
    """What a push did, or with --dry-run would do. `states` are sent, known (the bytes were there) or unchanged."""

    repo_id: str
    revision: str
    commit: str | None
    url: str
    states: tuple[tuple[Hashed, str], ...]
    sent_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The result under --json."""
        return {
            "repo_id": self.repo_id,
            "revision": self.revision,
            "commit": self.commit,
            "url": self.url,
            "sent_bytes": self.sent_bytes,
            "files": [_file_as_json(hashed, state) for hashed, state in self.states],
        }


def _file_as_json(hashed: Hashed, state: str) -> dict[str, Any]:
    file = hashed.wanted.file
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": hashed.digests.sha256,
        "is_lfs": hashed.wanted.is_lfs,
        "state": state,
        "local_path": str(file.local),
    }


def push(
    reference: Reference,
    folder: Path,
    offer: Offer,
    *,
    url: str,
    transport: Transport,
    settings: Settings,
    out: Output,
) -> Pushed:
    """Afterwards the revision has the files, verified by the index's own listing. Idempotent; safe to run again."""
    started = time.monotonic()
    prefix = f"{reference.path}/" if reference.path else ""
    files = files_below(folder, prefix, offer.patterns)
    hub = Hub(url, transport, retries=settings.retries)
    work = _Push(reference, url, transport, hub, offer, settings, out)
    if offer.create and not work.is_there():
        if offer.dry_run:
            raise NotFound(
                f"{reference.repo_id} is not there yet: --create would make it, and then take "
                f"{count(len(files), 'file')}, {format_bytes(sum(file.size_bytes for file in files))}",
                hint="Leave --dry-run out to do that.",
            )
        work.create()
    pushed = work.push(files)
    _say_sum(pushed, time.monotonic() - started, offer, out)
    return pushed


@dataclass(frozen=True)
class _Push:
    reference: Reference
    url: str
    transport: Transport
    hub: Hub
    offer: Offer
    settings: Settings
    out: Output

    @property
    def repo_id(self) -> str:
        return self.reference.repo_id

    @property
    def repo_url(self) -> str:
        return f"{self.url}/api/models/{self.repo_id}"

    # --- the repo --------------------------------------------------------------------------------------

    def is_there(self) -> bool:
        try:
            self.hub.resolve(self.repo_id, self.reference.revision)
        except NotFound:
            return False
        return True

    def create(self) -> None:
        """A repo that is there already is as good."""
        organisation, _slash, name = self.repo_id.rpartition("/")
        question = {"type": "model", "name": name, "private": self.offer.private}
        if organisation:
            question["organization"] = organisation
        try:
            self._ask(f"{self.url}/api/repos/create", question)
            self.out.note(f"Made {self.repo_id}{', private' if self.offer.private else ''}.")
        except Refused as error:
            if error.facts.get("status") != 409:
                raise

    def _ask(self, url: str, question: Any) -> Any:
        return post_json(self.transport, url, question, name=self.repo_id, retries=self.settings.retries)

    # --- the files -------------------------------------------------------------------------------------

    def push(self, files: Sequence[LocalFile]) -> Pushed:
        wanted = self._wanted(files)
        with self._progress(sum(one.file.size_bytes for one in wanted), len(wanted)) as progress:
            hashed = hash_all(wanted, progress)
        changed = [one for one in hashed if not one.is_unchanged]
        large = [one for one in changed if one.wanted.is_lfs]
        store = Store(
            self.transport,
            self.url,
            self.repo_id,
            self.settings.cache_dir / ".holdfast" / "pushes",
            self.settings.retries,
        )
        self._say_plan(changed, hashed)
        if self.offer.dry_run or not changed:
            return self._pushed(hashed, changed, None, set(), 0)
        ways = ways_for(store, large)
        lacking = {way.hashed.oid for way in ways}
        size = sum(way.hashed.digests.size_bytes for way in ways)
        with self._progress(size, len(ways)) as progress:
            send_all(store, ways, progress, max_workers=self.settings.max_workers)
        sent = progress.arrived_bytes + sum(
            one.digests.size_bytes for one in changed if not one.wanted.is_lfs
        )
        commit = self._commit(changed)
        self._verify(commit, hashed)
        return self._pushed(hashed, changed, commit, lacking, sent)

    def _wanted(self, files: Sequence[LocalFile]) -> list[Wanted]:
        wanted = ask_how(
            self.transport,
            self.repo_url,
            self.reference.revision,
            files,
            name=self.repo_id,
            retries=self.settings.retries,
        )
        for one in wanted:
            if one.is_ignored:
                self.out.note(f"  ignored   {printable(one.file.path)} (by .gitignore)")
        kept = [one for one in wanted if not one.is_ignored]
        if not kept:
            raise NotFound(
                "nothing to push: .gitignore leaves every file out", hint="Change it, or name other files."
            )
        return kept

    def _progress(self, total: int, n_files: int) -> Progress:
        mode = (
            "off" if self.out.verbosity < 0 and self.settings.progress != "json" else self.settings.progress
        )
        return open_progress(mode, total, n_files, color=self.settings.color, tell_finished=False)

    def _say_plan(self, changed: Sequence[Hashed], hashed: Sequence[Hashed]) -> None:
        size = sum(one.digests.size_bytes for one in changed)
        same = len(hashed) - len(changed)
        kept = f", {count(same, 'file')} unchanged" if same else ""
        at = f"{self.repo_id}@{self.reference.revision}"
        self.out.note(f"{at}: {count(len(changed), 'file')} new or changed, {format_bytes(size)}{kept}")

    # --- the commit ------------------------------------------------------------------------------------

    def _commit(self, changed: Sequence[Hashed]) -> str:
        url = f"{self.repo_url}/commit/{quote(self.reference.revision, safe='')}"
        told = with_patience(self.settings.retries, lambda: self._send_commit(url, changed))
        commit = told.get("commitOid") if isinstance(told, dict) else None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise Refused(
                f"{self.repo_id}: the index did not say which commit it made", hint="Look at it there."
            )
        return commit

    def _send_commit(self, url: str, changed: Sequence[Hashed]) -> Any:
        message = self.offer.message
        headers = {"Content-Type": NDJSON, "Content-Length": str(commit_length(message, changed))}
        with self.transport.send("POST", url, commit_body(message, changed), headers) as answer:
            if answer.status != 200:
                raise refused(answer, self.repo_id)
            return read_json(answer)

    def _verify(self, commit: str, hashed: Sequence[Hashed]) -> None:
        """The index's own listing has every file with the digest that we computed."""
        listed = {file.path: file for file in self.hub.list_files(self.repo_id, commit)}
        for one in hashed:
            file = listed.get(one.wanted.file.path)
            if file is None or not _is_same(one, file):
                raise HashMismatch(
                    f"{self.repo_id}@{commit[:12]} {one.wanted.file.path}: the index does not list what was sent",
                    hint="The file changed while it was sent, or another commit came after this one. Push again.",
                    path=one.wanted.file.path,
                    expected=one.digests.sha256,
                    actual=None if file is None else file.etag,
                )

    def _pushed(
        self,
        hashed: Sequence[Hashed],
        changed: Sequence[Hashed],
        commit: str | None,
        lacking: set[str],
        sent: int,
    ) -> Pushed:
        new = {id(one) for one in changed}

        def state(one: Hashed) -> str:
            if id(one) not in new:
                return "unchanged"
            return "known" if one.wanted.is_lfs and commit and one.oid not in lacking else "sent"

        states = tuple((one, state(one)) for one in hashed)
        return Pushed(
            self.repo_id, self.reference.revision, commit, f"{self.url}/{self.repo_id}", states, sent
        )


def _is_same(one: Hashed, file: RemoteFile) -> bool:
    """By sha256 where the index tells it: it may keep a small file as an LFS object too."""
    return (
        file.sha256 == one.digests.sha256 if file.sha256 is not None else file.git_oid == one.digests.git_oid
    )


def _say_sum(pushed: Pushed, seconds: float, offer: Offer, out: Output) -> None:
    if offer.dry_run:
        out.note("Dry run: nothing was sent.")
    elif pushed.commit is None:
        out.note(f"{pushed.repo_id} has all of it already: {count(len(pushed.states), 'file')}.")
    else:
        known = sum(state == "known" for _one, state in pushed.states)
        words = f", {count(known, 'file')} known by digest" if known else ""
        name = f"{pushed.repo_id}@{pushed.commit[:12]}"
        size = format_bytes(pushed.sent_bytes)
        out.note(f"Pushed {name}: verified, {size} sent in {format_seconds(seconds)}{words}.")


def check_reference(reference: Reference) -> None:
    """A push goes to a branch of a repo, and perhaps into a folder of it."""
    if reference.variant is not None:
        raise UsageError("a push goes to a repo, not to a variant", hint=f"leave :{reference.variant} out")
    if COMMIT.match(reference.revision):
        raise UsageError("a push goes to a branch, and a commit never changes", hint="name a branch after @")
