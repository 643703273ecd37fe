"""Recipe, Artifact: how, and what a conversion made of which commit."""

from django.db import models

from registry.models.blob import Blob
from registry.models.commit import Commit
from registry.models.rules import SHA256, matches, one_of


class Recipe(models.Model):
    """Format, type rules and program version: all that determines the output, named by its digest."""

    digest = models.CharField(
        max_length=64, unique=True, help_text="sha256 of the canonical JSON of `content`"
    )
    name = models.CharField(max_length=60, help_text="what people call it, e.g. Q8_0")
    format = models.CharField(max_length=20)
    content = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [matches("recipe", "digest", SHA256)]

    def __str__(self) -> str:
        return self.name


class Artifact(models.Model):
    """What a recipe made of a commit. Published only after test inference passed it."""

    class State(models.TextChoices):
        UNVALIDATED = "unvalidated", "not validated yet"
        PUBLISHED = "published", "published"
        REJECTED = "rejected", "rejected"

    recipe = models.ForeignKey(Recipe, on_delete=models.PROTECT, related_name="artifacts")
    source = models.ForeignKey(Commit, on_delete=models.PROTECT, related_name="artifacts")
    path = models.CharField(max_length=300, help_text="file name in the derived repo")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="artifacts")
    state = models.CharField(max_length=12, choices=State, default=State.UNVALIDATED)
    published_in = models.ForeignKey(
        Commit, null=True, blank=True, on_delete=models.SET_NULL, related_name="published_artifacts",
        help_text="the first commit of the derived repo that holds it",
    )  # fmt: skip
    created_at = models.DateTimeField(auto_now_add=True)
    seconds = models.FloatField(null=True, blank=True, help_text="working time of the conversion")
    reproduced_at = models.DateTimeField(
        null=True, blank=True, help_text="when the recipe last gave these very bytes again"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["recipe", "source"], name="artifact_once"),
            one_of("artifact", "state", ["unvalidated", "published", "rejected"]),
        ]

    def __str__(self) -> str:
        return self.path
