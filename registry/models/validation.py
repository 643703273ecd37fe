"""Validation: one verdict on bytes, with what was measured."""

from django.db import models
from django.db.models import Case, Q, Value, When

from registry.models.artifact import Artifact
from registry.models.blob import Blob
from registry.models.commit import Commit
from registry.models.rules import not_negative, one_of

VERDICTS = ["verified", "loads", "partial", "damaged", "unsupported", "untested"]
PROVEN = ["verified", "loads", "damaged", "partial", "unsupported", "untested"]
"""The same by how much they say for a repo that has several files."""

UNDECIDED = ["partial", "untested"]
"""Verdicts that speak of this machine rather than of the file: an earlier decided one stands."""


class ValidationQuerySet(models.QuerySet["Validation"]):
    def newest_first(self) -> "ValidationQuerySet":
        return self.order_by("-created_at", "-pk")

    def best_known(self) -> "ValidationQuerySet":
        """Decided verdicts before undecided ones, newest first: the first of a blob is the one that stands."""
        undecided = Case(When(verdict__in=UNDECIDED, then=Value(1)), default=Value(0))
        return self.annotate(is_undecided=undecided).order_by("is_undecided", "-created_at", "-pk")

    def best_proven(self) -> "ValidationQuerySet":
        """Verified before all else, then what loads, then what is known to be wrong; the newest of each first."""
        rank = Case(*[When(verdict=word, then=Value(place)) for place, word in enumerate(PROVEN)])
        return self.order_by(rank, "-created_at")

    def with_places(self) -> "ValidationQuerySet":
        """Each with its blob, its parent's repo and its artifact's recipe and home, in the same query."""
        return self.select_related(
            "blob",
            "parent__repo",
            "artifact__recipe",
            "artifact__source__repo",
            "artifact__published_in__repo",
        )


class Validation(models.Model):
    """One run of test inference. Rows are never changed: a new run adds a row.

    The verdict is on the blob: it holds for every path that has these bytes, whoever published them, against this
    parent. `path` is what they were called when they were judged. `artifact` is set for what was made here.
    """

    class Verdict(models.TextChoices):
        VERIFIED = "verified", "Verified"
        LOADS = "loads", "Loads"
        PARTIAL = "partial", "Partial"
        DAMAGED = "damaged", "Damaged"
        UNSUPPORTED = "unsupported", "Unsupported"
        UNTESTED = "untested", "Not tested"

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="validations")
    path = models.CharField(max_length=1024, help_text="what the file was called when it was judged")
    parent = models.ForeignKey(
        Commit, null=True, blank=True, on_delete=models.PROTECT, related_name="judged_by",
        help_text="what it was compared with; empty where no parent was known",
    )  # fmt: skip
    artifact = models.ForeignKey(
        Artifact, null=True, blank=True, on_delete=models.CASCADE, related_name="validations"
    )
    verdict = models.CharField(max_length=12, choices=Verdict)
    passed = models.BooleanField(help_text="whether the gate of the day let it through")
    reason = models.TextField(blank=True, help_text="one sentence for a person")
    report = models.JSONField(help_text="every check: id, verdict, value, limit, seconds; engine; texts")
    report_blob = models.ForeignKey(
        Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="reports", to_field="sha256",
        db_column="report_sha256", help_text="the report as canonical JSON; empty for rows of the first schema",
    )  # fmt: skip
    engine = models.CharField(max_length=100)
    limits_version = models.PositiveSmallIntegerField(default=0)
    mean_kld = models.FloatField(null=True, blank=True)
    top1_agreement = models.FloatField(null=True, blank=True, help_text="0 to 1")
    perplexity_ratio = models.FloatField(null=True, blank=True, help_text="artifact over parent")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ValidationQuerySet.as_manager()

    class Meta:
        constraints = [
            one_of("validation", "verdict", VERDICTS),
            models.CheckConstraint(condition=~Q(path=""), name="validation_path_not_empty"),
            models.CheckConstraint(
                condition=~Q(verdict="verified") | Q(parent__isnull=False),
                name="validation_verified_has_parent",
            ),
            not_negative("validation", "mean_kld"),
            not_negative("validation", "perplexity_ratio"),
            models.CheckConstraint(
                condition=Q(top1_agreement__isnull=True) | Q(top1_agreement__gte=0, top1_agreement__lte=1),
                name="validation_top1_agreement_is_a_share",
            ),
        ]
        indexes = [
            models.Index(fields=["artifact", "-created_at"], name="validation_newest"),
            models.Index(fields=["blob", "-created_at"], name="validation_newest_of_blob"),
            models.Index(fields=["created_at"], name="validation_oldest"),
        ]

    def __str__(self) -> str:
        return self.verdict

    @property
    def is_decided(self) -> bool:
        """Whether it speaks of the file, and not of the machine that tried."""
        return self.verdict not in UNDECIDED

    @property
    def report_sha256(self) -> str | None:
        """What names the report: `GET /api/holdfast/v1/reports/<sha256>` gives the bytes."""
        return self.report_blob_id
