"""From the command line and its lists to what is pulled: a reference and a wish for each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from holdfast.errors import UsageError
from holdfast.lists.pins import Pins
from holdfast.lists.policy import Policy, Rule, names_revision
from holdfast.lists.requirements import Requirement, Requirements
from holdfast.pulling import Wish
from holdfast.reference import Reference, is_revision
from holdfast.settings import Settings
from holdfast.text import printable


def policy_of(requirements: Requirements, settings: Settings) -> Policy:
    """The rules of the constraints, and --require-validated."""
    asked = (Rule("", "--require-validated"),) if settings.require_validated else ()
    return requirements.policy + Policy(validated=asked)


def wishes_of(
    references: Iterable[Reference], requirements: Requirements, wish: Wish, settings: Settings
) -> Iterator[tuple[Reference, Wish]]:
    """What was named on the command line, then what the lists want. A line's own patterns replace the command's."""
    wish = replace(
        wish, policy=policy_of(requirements, settings), pins=Pins(required=settings.require_hashes)
    )
    for reference in references:
        yield reference, wish
    for requirement in requirements.models:
        yield requirement.reference, _wish_of(requirement, wish)


def _wish_of(requirement: Requirement, wish: Wish) -> Wish:
    pins = Pins(requirement.hashes, wish.pins.required, requirement.place)
    return replace(wish, pins=pins, patterns=requirement.patterns or wish.patterns)


def at_revision(reference: Reference, revision: str | None) -> Reference:
    """The reference at the revision of --revision. Raises UsageError if it names another itself."""
    if revision is None or reference.revision == revision:
        return reference
    if not is_revision(revision):
        raise UsageError(f"--revision {printable(revision)!r} is no branch, tag or commit")
    if names_revision(reference):
        raise UsageError(
            f"{printable(reference.text)} names a revision, and --revision names {revision}",
            hint="Leave one of them out.",
        )
    return replace(reference, revision=revision)
