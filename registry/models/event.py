"""Event: append-only provenance, in the words of PREMIS event types."""

from typing import Any

from django.db import models

from registry.models.artifact import Artifact
from registry.models.blob import Blob
from registry.models.commit import Commit
from registry.models.repo import Repo
from registry.models.rules import one_of


class AppendOnly(Exception):
    """An event is never changed or deleted."""


class Event(models.Model):
    """Who did what to which object when. Rows are only ever added."""

    class Type(models.TextChoices):
        INGESTION = "ingestion", "ingestion"
        MIGRATION = "migration", "migration"
        VALIDATION = "validation", "validation"
        PUBLICATION = "publication", "publication"
        FIXITY = "fixity check", "fixity check"
        METADATA = "metadata extraction", "metadata extraction"
        DELETION = "deletion", "deletion"
        REPLICATION = "replication", "replication"

    class Outcome(models.TextChoices):
        SUCCESS = "success", "success"
        WARNING = "warning", "warning"
        FAILURE = "failure", "failure"

    type = models.CharField(max_length=24, choices=Type)
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.SUCCESS)
    happened_at = models.DateTimeField(auto_now_add=True, db_index=True)
    agent = models.CharField(max_length=200, help_text="program and version, or the user who asked")
    repo = models.ForeignKey(Repo, null=True, blank=True, on_delete=models.SET_NULL, related_name="events")
    commit = models.ForeignKey(
        Commit, null=True, blank=True, on_delete=models.SET_NULL, related_name="events"
    )
    blob = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.SET_NULL, related_name="events")
    artifact = models.ForeignKey(
        Artifact, null=True, blank=True, on_delete=models.SET_NULL, related_name="events"
    )
    summary = models.CharField(max_length=500, help_text="one sentence for a person, naming the object")
    detail = models.JSONField(default=dict)

    class Meta:
        constraints = [
            one_of("event", "type", ["ingestion", "migration", "validation", "publication", "fixity check",
                                     "metadata extraction", "deletion", "replication"]),
            one_of("event", "outcome", ["success", "warning", "failure"]),
        ]  # fmt: skip
        indexes = [models.Index(fields=["repo", "-happened_at"], name="event_newest")]

    def __str__(self) -> str:
        return self.summary

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly(f"event {self.pk} is history and cannot be changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnly(f"event {self.pk} is history and cannot be deleted")
