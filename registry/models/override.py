"""Override: what an operator holds to be true of bytes, whatever the verdict, with the reason."""

from typing import Any

from django.db import models
from django.db.models import Q

from registry.models.blob import Blob
from registry.models.rules import one_of
from registry.models.validation import VERDICTS


class Override(models.Model):
    """While it is in force, gates see `verdict` instead of what was measured. At most one of a blob at a time.

    A verdict can be granted (`verified`, for what the limits are too strict for) or denied (`damaged`, to take a
    file out of circulation). The validations stay as they are, and pages show both.
    """

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="overrides")
    verdict = models.CharField(max_length=12, choices=[(word, word) for word in VERDICTS])
    reason = models.TextField()
    by = models.CharField(max_length=150, help_text="the operator who decided")
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            one_of("override", "verdict", VERDICTS),
            models.CheckConstraint(condition=~Q(reason=""), name="override_reason_not_empty"),
            models.CheckConstraint(condition=~Q(by=""), name="override_by_not_empty"),
            models.UniqueConstraint(
                fields=["blob"], condition=Q(withdrawn_at__isnull=True), name="override_once_in_force"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "reason": self.reason, "by": self.by, "created_at": self.created_at}
