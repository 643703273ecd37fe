"""What may be pulled at all: the rules of a constraints file, checked when the files are known, before any comes.

Every rule knows the line it stands on, and a refusal names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from holdfast.asking.reading import Reader
from holdfast.choosing.selection import Selection
from holdfast.choosing.variants import format_of
from holdfast.errors import PolicyDenied
from holdfast.lists.licences import read_licence
from holdfast.lists.verdicts import check_validated, read_verdicts
from holdfast.reference import DEFAULT_REVISION, Reference
from holdfast.settings import Settings
from holdfast.sources.indexes import Indexes
from holdfast.text import format_bytes, printable


@dataclass(frozen=True)
class Rule:
    """One line: what it says, and where it stands (`policy.txt:3`)."""

    value: str
    place: str


@dataclass(frozen=True)
class Policy:
    """All rules together. Empty: everything is allowed."""

    licences: tuple[Rule, ...] = ()
    formats: tuple[Rule, ...] = ()
    max_sizes: tuple[Rule, ...] = ()  # bytes in digits
    validated: tuple[Rule, ...] = ()
    revisions: tuple[tuple[str, Rule], ...] = ()  # repo_id, revision

    def __add__(self, other: Policy) -> Policy:
        return Policy(
            self.licences + other.licences,
            self.formats + other.formats,
            self.max_sizes + other.max_sizes,
            self.validated + other.validated,
            self.revisions + other.revisions,
        )


ANYTHING = Policy()


def names_revision(reference: Reference) -> bool:
    """Whether the reference says a revision itself."""
    return reference.revision != DEFAULT_REVISION or f"@{DEFAULT_REVISION}" in reference.text


def constrain(reference: Reference, policy: Policy) -> Reference:
    """The reference at the revision that a constraint names. Raises PolicyDenied if it names another itself."""
    for repo_id, rule in policy.revisions:
        if repo_id.casefold() != reference.repo_id.casefold():
            continue
        if names_revision(reference) and reference.revision != rule.value:
            raise _denied(
                f"{printable(reference.text)} asks for {reference.revision}",
                [rule],
                f"only {rule.value}",
            )
        reference = replace(reference, revision=rule.value, text=f"{reference.repo_id}@{rule.value}")
    return reference


def check_policy(policy: Policy, selection: Selection, indexes: Indexes | None, settings: Settings) -> None:
    """Raises PolicyDenied or NotValidated. Asks the network only for what some rule needs to know."""
    check_formats(policy, selection.name, (file.path for file in selection.files))
    check_size(policy, selection.name, sum(file.size_bytes for file in selection.files))
    if policy.licences:
        reader = Reader(
            indexes, settings.cache_dir, selection.repo_id, selection.commit, retries=settings.retries
        )
        licence = read_licence(reader, selection.listing, with_file=False)
        check_licence(policy, selection.name, licence.id)
    if policy.validated:
        verdicts = {} if indexes is None else read_verdicts(indexes, selection.repo_id, selection.commit)
        check_validated(selection, verdicts, policy.validated[0].place)


def check_formats(policy: Policy, name: str, paths: Iterable[str]) -> None:
    """Raises PolicyDenied for weights in a format that is not allowed."""
    allowed = {rule.value for rule in policy.formats}
    for path in paths if allowed else ():
        found = format_of(path)
        if found is not None and found not in allowed:
            raise _denied(f"{name} {printable(path)} is {found}", policy.formats, _words(allowed))


def check_size(policy: Policy, name: str, size_bytes: int) -> None:
    """Raises PolicyDenied if the files together are larger than the smallest limit."""
    for rule in policy.max_sizes:
        if size_bytes > int(rule.value):
            raise _denied(f"{name} has {format_bytes(size_bytes)}", [rule], format_bytes(int(rule.value)))


def check_licence(policy: Policy, name: str, licence: str | None) -> None:
    """Raises PolicyDenied unless every licence that the card names is allowed; none at all is not."""
    allowed = {rule.value for rule in policy.licences}
    named = licence.split(",") if licence else []
    if allowed and not (named and set(named) <= allowed):
        what = f"is under {printable(licence)}" if licence else "names no licence"
        raise _denied(f"{name} {what}", policy.licences, _words(allowed))


def _words(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def _denied(what: str, rules: Iterable[Rule], allowed: str) -> PolicyDenied:
    places = list(dict.fromkeys(rule.place for rule in rules))
    shown = ", ".join(places[:3]) + (" …" if len(places) > 3 else "")
    return PolicyDenied(
        f"{what}, and {shown} {'allows' if len(places) == 1 else 'allow'} {allowed}",
        hint="Nothing was fetched. Choose another model or variant, or have the line changed.",
        rules=places,
    )
