"""From a reference to the exact files: the revision becomes a commit, the variant becomes paths.

A variant is looked for in the repo itself, then wherever the index says it keeps it (a Holdfast index knows which repo
holds the artifacts made of a commit), then, on plain hubs, in `<repo>-GGUF`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Callable, Protocol

from holdfast.choosing.best import BEST, choose_best
from holdfast.choosing.choices import ambiguous, merged, no_variant
from holdfast.choosing.variants import (
    FORMATS,
    check_shards,
    choices_of,
    files_of_format,
    formats_of,
    gguf_groups,
)
from holdfast.errors import HashMismatch, NotFound
from holdfast.paths import check_collisions
from holdfast.reference import DEFAULT_REVISION, Reference, is_repo_id
from holdfast.sources.remote import Choice, RemoteFile, VariantAnswer
from holdfast.text import printable


class Index(Protocol):
    """What answers questions: the network, or the cache when offline."""

    def resolve(self, repo_id: str, revision: str) -> str:
        """The commit of a revision, or NotFound."""

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """Its files."""

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        """Where a variant is kept, None if the index does not know such things."""


@dataclass(frozen=True)
class Selection:
    """The files to pull, out of which commit. `revision` is None if nobody named one for this repo."""

    repo_id: str
    revision: str | None
    commit: str
    listing: tuple[RemoteFile, ...]
    files: tuple[RemoteFile, ...]
    variant: str | None
    one_file: bool  # a person asked for one model file or path: its path is the result, not the folder's
    reason: str = ""  # why this variant, where nobody named it

    @property
    def name(self) -> str:
        return f"{self.repo_id}@{self.commit[:12]}"


@dataclass(frozen=True)
class Patterns:
    """--include and --exclude: shell patterns on paths; a pattern ending in / means the folder."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def keep(self, files: Iterable[RemoteFile]) -> list[RemoteFile]:
        """The files that some include (if there is any) and no exclude matches."""
        return [
            file
            for file in files
            if (not self.include or _matches(file.path, self.include))
            and not _matches(file.path, self.exclude)
        ]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def select(
    reference: Reference,
    index: Index,
    patterns: Patterns,
    *,
    ask: Callable[[str, Sequence[Choice]], str | None],
    memory_bytes: int | None = None,
) -> Selection:
    """The files that the reference means. Raises NotFound or AmbiguousVariant with the choices.

    `ask` may let a person choose a variant; it returns None where nobody can be asked. `memory_bytes` is what `:best`
    may count on, None for what this machine has.
    """
    commit = index.resolve(reference.repo_id, reference.revision)
    listing = index.list_files(reference.repo_id, commit)
    selection = Selection(
        reference.repo_id, reference.revision, commit, tuple(listing), tuple(listing), None, one_file=False
    )
    variant = reference.variant
    if variant is None and reference.path is None and not patterns:
        variant = _variant_wanted(selection, index, ask)
    if variant is not None and variant.casefold() == BEST:
        selection = _select_best(selection, index, reference, memory_bytes)
    elif variant is not None:
        selection = _select_variant(selection, index, variant, reference)
    return _narrow(selection, reference, patterns)


def _variant_wanted(
    selection: Selection, index: Index, ask: Callable[[str, Sequence[Choice]], str | None]
) -> str | None:
    """None for the whole repo. A repo of several GGUF models is never pulled whole by accident."""
    if len(gguf_groups(selection.listing)) < 2:
        return None
    choices = every_choice(
        index, selection.repo_id, selection.revision or selection.commit, selection.listing
    )
    chosen = ask(selection.repo_id, choices)
    if chosen is None:
        raise ambiguous(f"{selection.repo_id} holds several variants", choices, selection.repo_id)
    return chosen


def _select_variant(selection: Selection, index: Index, variant: str, reference: Reference) -> Selection:
    own = _own_variant(selection, variant)
    if own is not None:
        return own
    answer = index.resolve_variant(selection.repo_id, reference.revision, variant)
    if answer is None:
        derived, choices = _by_convention(selection, index, variant)
    else:
        derived = _by_answer(index, variant, answer)
        choices = merged(choices_of(selection.repo_id, selection.listing), answer.choices)
    if derived is None:
        raise no_variant(variant, selection.repo_id, selection.name, choices)
    return derived


def _select_best(
    selection: Selection, index: Index, reference: Reference, memory_bytes: int | None
) -> Selection:
    """The largest variant that fits, of this repo or made of it; its name, or for one of ours its path, finds it."""
    from holdfast.choosing.memory import read_rooms  # starts programs, which few pulls need

    choices = every_choice(index, selection.repo_id, reference.revision, selection.listing)
    chosen, reason = choose_best(selection.name, choices, read_rooms(memory_bytes))
    own = chosen.repo_id == selection.repo_id
    found = _select_variant(selection, index, (own and chosen.path) or chosen.variant, reference)
    return replace(found, variant=chosen.variant, reason=reason)


def every_choice(index: Index, repo_id: str, revision: str, listing: Sequence[RemoteFile]) -> list[Choice]:
    """Every variant of a repo, and those made of it that the index knows or that lie in `<repo>-GGUF`."""
    choices = choices_of(repo_id, listing)
    answer = index.resolve_variant(repo_id, revision, BEST)
    if answer is not None:
        return merged(choices, answer.choices)
    derived = _derived_by_convention(index, repo_id)
    return choices + (choices_of(derived.repo_id, derived.listing) if derived else [])


def _own_variant(selection: Selection, variant: str) -> Selection | None:
    """The variant out of the repo's own files, None if it has no such."""
    groups = [group for group in gguf_groups(selection.listing) if group.answers_to(variant)]
    if variant.casefold() == "gguf":
        groups = gguf_groups(selection.listing)
    if len(groups) > 1:
        raise ambiguous(
            f"{len(groups)} files of {selection.repo_id} are {variant}",
            [Choice(one.variant, selection.repo_id, one.files[0].path, one.size_bytes) for one in groups],
            selection.repo_id,
        )
    if groups:
        check_shards(groups[0], selection.name)
        return replace(selection, files=tuple(groups[0].files), variant=groups[0].variant, one_file=True)
    name = variant.casefold()
    if name in FORMATS and name in formats_of(selection.listing):
        return replace(selection, files=tuple(files_of_format(selection.listing, name)), variant=name)
    return None


def _by_convention(selection: Selection, index: Index, variant: str) -> tuple[Selection | None, list[Choice]]:
    """The variant in `<repo>-GGUF`, and everything that this repo and that one offer."""
    choices = choices_of(selection.repo_id, selection.listing)
    derived = _derived_by_convention(index, selection.repo_id)
    if derived is None:
        return None, choices
    return _own_variant(derived, variant), choices + choices_of(derived.repo_id, derived.listing)


def _derived_by_convention(index: Index, repo_id: str) -> Selection | None:
    """All of `<repo>-GGUF`, if the index has it."""
    name = f"{repo_id}-GGUF"
    if repo_id.upper().endswith("-GGUF") or not is_repo_id(name):
        return None
    try:
        commit = index.resolve(name, DEFAULT_REVISION)
        listing = tuple(index.list_files(name, commit))
    except NotFound:
        return None
    return Selection(name, DEFAULT_REVISION, commit, listing, listing, None, one_file=False)


def _by_answer(index: Index, variant: str, answer: VariantAnswer) -> Selection | None:
    """The files that the index names, matched with the listing of their commit."""
    if not answer.sha256_by_path or answer.repo_id is None or answer.commit is None:
        return None
    if not is_repo_id(answer.repo_id):
        raise NotFound(
            f"the index keeps {variant} in a repo without a usable name: {printable(answer.repo_id)}"
        )
    listing = {file.path: file for file in index.list_files(answer.repo_id, answer.commit)}
    files = []
    for path, sha256 in answer.sha256_by_path.items():
        if path not in listing:
            raise NotFound(
                f"the index names {printable(path)} for {variant}, but {answer.repo_id} has no such file"
            )
        files.append(listing[path])
        _check_same(listing[path], sha256, answer.repo_id)
    revision = DEFAULT_REVISION if _names(index, answer.repo_id, answer.commit) else None
    n_models = len(gguf_groups(files))
    return Selection(
        answer.repo_id,
        revision,
        answer.commit,
        tuple(listing.values()),
        tuple(files),
        variant,
        one_file=n_models == 1,
    )


def _names(index: Index, repo_id: str, commit: str) -> bool:
    """Whether main of the repo is this commit, so that the cache may say so."""
    try:
        return index.resolve(repo_id, DEFAULT_REVISION) == commit
    except NotFound:
        return False


def _asked_for(file: RemoteFile, sha256: str | None, repo_id: str) -> RemoteFile:
    """The file, which must have these bytes where a person asked for bytes: by the listing, else when they arrive."""
    _check_same(file, sha256, repo_id)
    return file if sha256 is None or file.sha256 else replace(file, pins=(sha256,))


def _check_same(file: RemoteFile, sha256: str | None, repo_id: str) -> None:
    if sha256 and file.sha256 and sha256 != file.sha256:
        raise HashMismatch(
            f"the index gives two digests for {repo_id} {file.path}: {sha256} and {file.sha256}",
            hint="Nothing was fetched. Tell the operator of the index.",
            name=file.path,
            expected=sha256,
            actual=file.sha256,
        )


def _narrow(selection: Selection, reference: Reference, patterns: Patterns) -> Selection:
    """By //path and by --include and --exclude; what is left must not be empty nor collide."""
    files, one_file = list(selection.files), selection.one_file
    if reference.path is not None:
        files, one_file = _at_path(selection, reference.path, reference.sha256)
    files = patterns.keep(files)
    if not files:
        raise NotFound(
            f"no file of {selection.name} matches --include and --exclude"
            if patterns
            else f"{selection.name} has no files",
            hint=f"{len(selection.files)} files were listed; holdfast pull --dry-run {selection.repo_id} shows them.",
            repo_id=selection.repo_id,
        )
    check_collisions((file.path for file in files), listed_by=selection.name)
    return replace(selection, files=tuple(files), one_file=one_file)


def _at_path(selection: Selection, path: str, sha256: str | None) -> tuple[list[RemoteFile], bool]:
    exact = [file for file in selection.listing if file.path == path]
    if exact:
        return [_asked_for(file, sha256, selection.repo_id) for file in exact], True
    below = [file for file in selection.listing if file.path.startswith(f"{path}/")]
    if below:
        return below, False
    raise NotFound(
        f"no such file: {printable(path)} in {selection.name}",
        hint=f"holdfast pull --dry-run {selection.repo_id}@{selection.commit[:12]} shows what there is.",
        repo_id=selection.repo_id,
        path=path,
    )
