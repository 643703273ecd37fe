"""Validation: one verdict on one artifact, with what was measured."""

from django.db import models

from registry.models.artifact import Artifact
from registry.models.rules import one_of

VERDICTS = ["verified", "loads", "partial", "damaged", "unsupported", "untested"]


class Validation(models.Model):
    """One run of test inference. Rows are never changed: a new run adds a row."""

    class Verdict(models.TextChoices):
        VERIFIED = "verified", "Verified"
        LOADS = "loads", "Loads"
        PARTIAL = "partial", "Partial"
        DAMAGED = "damaged", "Damaged"
        UNSUPPORTED = "unsupported", "Unsupported"
        UNTESTED = "untested", "Not tested"

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="validations")
    verdict = models.CharField(max_length=12, choices=Verdict)
    passed = models.BooleanField(help_text="whether the policy of the day let it be published")
    reason = models.TextField(blank=True, help_text="one sentence for a person")
    report = models.JSONField(help_text="every check: id, verdict, value, limit, seconds; engine; texts")
    engine = models.CharField(max_length=100)
    mean_kld = models.FloatField(null=True, blank=True)
    top1_agreement = models.FloatField(null=True, blank=True, help_text="0 to 1")
    perplexity_ratio = models.FloatField(null=True, blank=True, help_text="artifact over parent")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [one_of("validation", "verdict", VERDICTS)]
        indexes = [models.Index(fields=["artifact", "-created_at"], name="validation_newest")]

    def __str__(self) -> str:
        return self.verdict
