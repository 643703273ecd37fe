"""Is the repo of that name upstream still the one that we know, and its owner still the same?

Names are given up and registered anew by others, and repos change hands; a redirect hides neither. So what upstream
says of itself, its own id of the repo and the owner's name, is compared with what it said when the name was bound
(`mirror.routing`). When either differs the name is held for review: what we have is served, nothing new is taken,
and an operator decides.
"""

from typing import Any

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Lower
from django.utils import timezone

from mirror.upstream.base import RemoteCommit
from registry.models import Binding, Event, Repo

AGENT = "holdfast routing"


class HeldForReview(Exception):
    """Upstream's repo of that name is another one, or somebody else's, than the one we know."""

    code = "held-for-review"

    def __init__(self, binding: Binding) -> None:
        super().__init__(
            f"{binding.repo_id} is held for review: {binding.reason}. What is held here is still served, nothing new "
            f"is taken. If that is right, run `manage.py upstreams release {binding.repo_id}`."
        )
        self.repo_id, self.reason = binding.repo_id, binding.reason


def identity_of(commit: RemoteCommit) -> dict[str, str]:
    """Upstream's own id of the repo and its owner, as it spells them; empty where it says nothing."""
    object_id, author = commit.info.get("_id"), commit.info.get("author")
    owner = author if isinstance(author, str) else commit.repo_id.rpartition("/")[0]
    return {"upstream_object_id": str(object_id or "")[:100], "owner": owner[:200]}


def check_owner(binding: Binding, commit: RemoteCommit) -> None:
    """The repo is still the one that was bound, and has still the same owner; that we asked is noted. One query.

    Raises HeldForReview when it is not, and while nobody has released it. Do not call it in a transaction: that the
    name is held must be in the database when this raises.
    """
    if binding.state == Binding.State.HELD:
        raise HeldForReview(binding)
    seen = identity_of(commit)
    changed = [name for name, value in seen.items() if _differs(getattr(binding, name), value)]
    if changed:
        _hold(binding, seen, changed)
        raise HeldForReview(binding)
    known: dict[str, Any] = {name: getattr(binding, name) or value for name, value in seen.items()}
    known["asked_at"] = timezone.now()
    for name, value in known.items():
        setattr(binding, name, value)
    binding.save(update_fields=list(known))


def _differs(known: str, seen: str) -> bool:
    return bool(known and seen) and known.lower() != seen.lower()


def _hold(binding: Binding, seen: dict[str, str], changed: list[str]) -> None:
    """The name is held, and an event says why; once, however many notice it."""
    words = {"upstream_object_id": "upstream's id of the repo", "owner": "its owner"}
    told = [f"{words[name]} was {getattr(binding, name)} and is now {seen[name]}" for name in changed]
    values = {
        "state": Binding.State.HELD, "reason": "; ".join(told)[:500],
        "seen_object_id": seen["upstream_object_id"], "seen_owner": seen["owner"],
    }  # fmt: skip
    rows = Binding.objects.filter(pk=binding.pk, state=Binding.State.BOUND)
    with transaction.atomic():
        if rows.update(**values):
            note(binding, f"{binding.repo_id} is held for review: {values['reason']}", values)
    for name, value in values.items():
        setattr(binding, name, value)


def release(binding: Binding, *, by: str) -> None:
    """The name is bound again, to the repo and owner that were seen when it was held; an event says who decided so."""
    accepted = {"upstream_object_id": binding.seen_object_id, "owner": binding.seen_owner}
    values = {name: value or getattr(binding, name) for name, value in accepted.items()}
    told = {"upstream": str(binding.upstream), "was_held_for": binding.reason, **values}
    for name, value in {
        **values,
        "state": Binding.State.BOUND,
        "reason": "",
        "seen_object_id": "",
        "seen_owner": "",
    }.items():
        setattr(binding, name, value)
    with transaction.atomic():
        binding.save(update_fields=[*values, "state", "reason", "seen_object_id", "seen_owner"])
        note(binding, f"{binding.repo_id} is released", told, agent=by, outcome=Event.Outcome.SUCCESS)


def note(
    binding: Binding, summary: str, detail: dict[str, Any], *, agent: str = AGENT,
    outcome: str = Event.Outcome.WARNING,
) -> None:  # fmt: skip
    """An event about where a name belongs, on the page of its repo if that is here."""
    repo = Repo.objects.by_id(binding.repo_id).filter(repo_type=binding.repo_type).first()
    Event.objects.create(
        type=Event.Type.INGESTION, outcome=outcome, agent=agent, repo=repo, summary=summary[:500],
        detail={"upstream": str(binding.upstream)} | detail,
    )  # fmt: skip


def held_reason() -> Subquery:
    """For a queryset of repos: why the name is held for review, NULL when it is not."""
    rows = Binding.objects.alias(lower=Lower("repo_id")).filter(
        lower=Lower(OuterRef("repo_id")), repo_type=OuterRef("repo_type"), state=Binding.State.HELD
    )
    return Subquery(rows.values("reason")[:1])


def warning_of(repo_id: str, reason: str | None) -> str:
    """What a client is told with what we still serve (`X-HF-Warning: topic; message`); empty without a reason."""
    if not reason:
        return ""
    told = f"held-for-review; {repo_id} is served as it was, and not brought up to date: {reason}"
    return told.encode("ascii", "replace").decode()
