"""Lock what a list wants: every requirement at one commit, with the size and sha256 of every file.

What is locked already stays as it is while it still is what its line asks for; only what is new, changed or to be
upgraded is asked for. A line that is new for a repo takes the commit that another line has of the same revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bind

from holdfast.asking.reading import Reader
from holdfast.choosing.selection import Index, Selection, select
from holdfast.choosing.variants import is_weights
from holdfast.errors import HoldfastError, NotFound
from holdfast.fetching.workers import worker_threads
from holdfast.lists.licences import read_licence
from holdfast.lists.lockfile import LockedFile, LockedModel, LockedVerdict
from holdfast.lists.pins import Pins, check_sums, pin
from holdfast.lists.policy import Policy, check_formats, check_licence, check_policy, check_size, constrain
from holdfast.lists.requirement_lines import naming
from holdfast.lists.requirements import Requirement
from holdfast.lists.verdicts import models_in, read_verdicts
from holdfast.output import Output
from holdfast.reference import Reference, parse_reference
from holdfast.settings import Settings
from holdfast.sources.indexes import Indexes, open_source
from holdfast.sources.offline import CachedIndex, missing_offline
from holdfast.sources.remote import COMMIT, RemoteFile, VariantAnswer
from holdfast.text import printable

MODELS_AT_ONCE = 4
UNTESTED = "untested"


@dataclass(frozen=True)
class Upgrade:
    """What moves to where its revision points now: everything, or the models of these names (repo or whole line)."""

    everything: bool = False
    names: tuple[str, ...] = ()

    def holds_for(self, requirement: Requirement) -> bool:
        """Whether the model is to move."""
        names = {requirement.text.casefold(), requirement.reference.repo_id.casefold()}
        return self.everything or any(name.casefold() in names for name in self.names)


def make_lock(
    wanted: Sequence[Requirement],
    old: Sequence[LockedModel],
    *,
    upgrade: Upgrade,
    policy: Policy,
    settings: Settings,
    out: Output,
) -> tuple[LockedModel, ...]:
    """The locked model of every requirement, in their order. Writes nothing.

    Raises NotFound for a name to upgrade that nothing is called, and what `pull` raises.
    """
    for name in upgrade.names:
        if not any(Upgrade(names=(name,)).holds_for(one) for one in wanted):
            raise NotFound(
                f"no model is called {printable(name)}",
                hint="Name it as models.txt does, or by its org/name.",
            )
    locker = _Locker(tuple(old), upgrade, policy, settings, out)
    with worker_threads(MODELS_AT_ONCE, "lock") as pool:
        return tuple(pool.map(locker.locked, wanted))


def why_outdated(requirement: Requirement, model: LockedModel, policy: Policy) -> str | None:
    """Why what is locked is not what the line and the policy ask for; None if it is. Asks nobody."""
    try:
        reference = constrain(requirement.reference, policy)
        check_formats(policy, model.name, (file.path for file in model.files))
        check_size(policy, model.name, model.size_bytes)
        check_licence(policy, model.name, model.licence)
    except HoldfastError as error:
        return error.message
    locked_as = model.commit if COMMIT.match(reference.revision) else model.revision
    if model.repo_id == reference.repo_id and locked_as != reference.revision:
        return f"{reference.revision} is asked for, and {locked_as} is locked"
    if policy.validated and not is_validated(model):
        return f"{policy.validated[0].place} wants a verdict that passes"
    return _why_hashes_differ(requirement, model)


def _why_hashes_differ(requirement: Requirement, model: LockedModel) -> str | None:
    hashes, locked = set(requirement.hashes), {file.sha256 for file in model.files}
    weights = {file.sha256 for file in model.files if is_weights(file.path)}
    if hashes and (hashes - locked or weights - hashes):
        return f"the hashes at {requirement.place} are not those that are locked"
    return None


def is_validated(model: LockedModel) -> bool:
    """By what the lock says."""
    passed = {one.path for one in model.verdicts if one.passed}
    groups = models_in([file.as_remote() for file in model.files])
    return all(group[0].path in passed for group in groups)


@dataclass(frozen=True)
class _Locker:
    """What the locking of every model shares."""

    old: tuple[LockedModel, ...]
    upgrade: Upgrade
    policy: Policy
    settings: Settings
    out: Output

    def locked(self, requirement: Requirement) -> LockedModel:
        """The requirement at its commit: as it was locked, or asked for now."""
        moves = self.upgrade.holds_for(requirement)
        before = next((model for model in self.old if model.requirement == requirement.text), None)
        if before is not None and not moves and why_outdated(requirement, before, self.policy) is None:
            return before
        with naming(requirement.place):
            return self._locked_now(requirement, moves=moves)

    def _locked_now(self, requirement: Requirement, *, moves: bool) -> LockedModel:
        reference = constrain(requirement.reference, self.policy)
        indexes = open_source(reference, self.settings, self.out)
        index = _Preferring(
            CachedIndex(self.settings.cache_dir) if self.settings.offline else indexes,
            {} if moves else _commits(self.old, reference.index_url),
        )
        selection = select(
            reference,
            index,
            requirement.patterns,
            ask=lambda _repo, _choices: None,
            memory_bytes=self.settings.memory_bytes,
        )
        pins = Pins(requirement.hashes, place=requirement.place)
        selection = pin(selection, pins)
        asked = None if self.settings.offline else indexes
        check_policy(self.policy, selection, asked, self.settings)
        return self._described(requirement, selection, pins, indexes.url_of(selection.repo_id), asked)

    def _described(
        self,
        requirement: Requirement,
        selection: Selection,
        pins: Pins,
        index_url: str,
        asked: Indexes | None,
    ) -> LockedModel:
        reader = Reader(
            asked,
            self.settings.cache_dir,
            selection.repo_id,
            selection.commit,
            retries=self.settings.retries,
        )
        files = self._summed(selection, reader)
        check_sums(pins, selection.name, {file.path: file.sha256 for file in files})
        licence = read_licence(reader, selection.listing, with_file=True)
        return LockedModel(
            requirement=requirement.text,
            index=index_url,
            repo_id=selection.repo_id,
            revision=selection.revision,
            commit=selection.commit,
            variant=selection.variant,
            licence=licence.id,
            licence_sha256=licence.file_sha256,
            verdicts=_verdicts(selection, asked),
            files=tuple(sorted(files, key=lambda file: file.path)),
        )

    def _summed(self, selection: Selection, reader: Reader) -> list[LockedFile]:
        """Every file with its sha256. What is locked already under the same git oid is not read again."""
        known = {file.git_oid: file.sha256 for model in self.old for file in model.files if file.git_oid}
        with worker_threads(self.settings.max_workers, "sum") as pool:
            sums = list(pool.map(bind(_sum, reader, known), selection.files))
        missing = [file.path for file, sha256 in zip(selection.files, sums) if sha256 is None]
        if missing:
            raise missing_offline(selection.repo_id, selection.commit, missing)
        return [
            LockedFile(file.path, file.size_bytes, sha256, None if file.sha256 else file.git_oid)
            for file, sha256 in zip(selection.files, sums)
            if sha256 is not None
        ]


def _sum(reader: Reader, known: Mapping[str, str], file: RemoteFile) -> str | None:
    return file.sha256 or known.get(file.git_oid or "") or reader.sha256(file)


def _verdicts(selection: Selection, asked: Indexes | None) -> tuple[LockedVerdict, ...]:
    """What the index holds of each model among the files; what nobody ran is left out."""
    heads = [group[0] for group in models_in(selection.files)]
    found = read_verdicts(asked, selection.repo_id, selection.commit) if asked is not None and heads else {}
    return tuple(
        LockedVerdict(file.path, verdict.verdict, verdict.passed, verdict.report_sha256)
        for file in heads
        if (verdict := found.get(file.sha256 or "")) is not None and verdict.verdict != UNTESTED
    )


def _commits(old: Iterable[LockedModel], index_url: str | None) -> dict[tuple[str, str], str]:
    """Which commit a revision of a repo is locked at, where the repo itself was asked for, of the same index."""
    found: dict[tuple[str, str], str] = {}
    for model in old:
        reference = _reference_of(model)
        if reference is None or (reference.index_url, reference.repo_id) != (index_url, model.repo_id):
            continue
        if model.revision is not None:
            found.setdefault((model.repo_id, model.revision), model.commit)
    return found


def _reference_of(model: LockedModel) -> Reference | None:
    try:
        return parse_reference(model.requirement.split(" ", 1)[0])
    except HoldfastError:
        return None


class _Preferring:
    """An index, except that a revision which is locked stays at its commit."""

    def __init__(self, index: Index, commits: Mapping[tuple[str, str], str]) -> None:
        self._index = index
        self._commits = commits

    def resolve(self, repo_id: str, revision: str) -> str:
        """The locked commit, or what the index says."""
        return self._commits.get((repo_id, revision)) or self._index.resolve(repo_id, revision)

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """The index's own."""
        return self._index.list_files(repo_id, commit)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        """The index's own."""
        return self._index.resolve_variant(repo_id, revision, variant)


def differences(wanted: Sequence[Requirement], locked: Sequence[LockedModel], policy: Policy) -> list[str]:
    """Every way in which the lock is not what the list asks for, as a line for a person. Asks nobody."""
    by_text = {model.requirement: model for model in locked}
    found = [f"not locked: {one.text}" for one in wanted if one.text not in by_text]
    for one in wanted:
        model = by_text.get(one.text)
        reason = why_outdated(one, model, policy) if model is not None else None
        found += [f"outdated: {one.text}: {reason}"] if reason else []
    texts = {one.text for one in wanted}
    return sorted(found) + sorted(f"not wanted: {text}" for text in by_text if text not in texts)


def moved(
    old: Sequence[LockedModel], new: Sequence[LockedModel]
) -> list[tuple[LockedModel | None, LockedModel]]:
    """What changed from one lock to the next: each changed or added model, with what it was."""
    before = {model.requirement: model for model in old}
    return [(before.get(model.requirement), model) for model in new if before.get(model.requirement) != model]
