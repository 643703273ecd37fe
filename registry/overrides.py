"""Overriding a verdict: an operator's decision on some bytes, with its reason, which nobody can take back unseen."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from registry.models import Artifact, Blob, Event, File, Override
from registry.models.validation import VERDICTS


class BadOverride(Exception):
    """Nothing was decided: the message says why."""

    code = "bad-override"


def grant_override(blob: Blob, verdict: str, reason: str, *, by: str) -> Override:
    """From now on gates take the blob for `verdict`. The decision before it, if any, is withdrawn. Always an Event.

    Raises BadOverride without a reason, an operator, or a verdict that there is.
    """
    reason, by = reason.strip(), by.strip()
    if verdict not in VERDICTS:
        raise BadOverride(f"{verdict!r:.40} is no verdict; there are {', '.join(VERDICTS)}")
    if not reason or not by:
        raise BadOverride(
            "an override needs a reason and the name of who decides: both are shown to everybody"
        )
    with transaction.atomic():
        locked = Blob.objects.select_for_update().get(pk=blob.pk)
        _in_force(locked).update(withdrawn_at=Now())
        override = Override.objects.create(blob=locked, verdict=verdict, reason=reason, by=by[:150])
        what = f"taken for {verdict} by decision of {by}: {reason}"
        _note(locked, by, what, {"override": override.pk, "verdict": verdict, "reason": reason})
    return override


def withdraw_override(blob: Blob, reason: str, *, by: str) -> bool:
    """What was measured decides again; False if nothing was overridden. Always an Event. Raises BadOverride."""
    if not reason.strip() or not by.strip():
        raise BadOverride("withdrawing an override needs a reason and a name, too")
    with transaction.atomic():
        locked = Blob.objects.select_for_update().get(pk=blob.pk)
        if not _in_force(locked).update(withdrawn_at=Now()):
            return False
        _note(locked, by, f"the override is withdrawn by {by}: {reason.strip()}", {"reason": reason.strip()})
    return True


def _in_force(blob: Blob) -> QuerySet[Override]:
    return Override.objects.filter(blob=blob, withdrawn_at__isnull=True)


def _note(blob: Blob, by: str, what: str, detail: dict[str, Any]) -> None:
    """An event where people look: at the repo that holds the file, or that it was made from."""
    artifact = Artifact.objects.filter(blob=blob).select_related("source__repo").order_by("pk").first()
    file = File.objects.filter(blob=blob).select_related("commit__repo").order_by("-pk").first()
    commit = artifact.source if artifact else file.commit if file else None
    name = artifact.path if artifact else file.path if file else blob.sha256[:12]
    Event.objects.create(
        type=Event.Type.VALIDATION, outcome=Event.Outcome.WARNING, agent=by[:200], blob=blob, artifact=artifact,
        repo=commit.repo if commit else None, commit=commit, summary=f"{name}: {what}"[:500],
        detail={"sha256": blob.sha256} | detail,
    )  # fmt: skip
