"""Upstream: a hub or site we copy from."""

from django.db import models

from registry.models.rules import one_of


class Upstream(models.Model):
    """One place that weights come from. Its token is never stored here: see HOLDFAST_UPSTREAM_TOKENS."""

    class Kind(models.TextChoices):
        HUGGINGFACE = "huggingface", "Hub-compatible endpoint"
        DIRECTORY = "directory", "directory"

    kind = models.CharField(max_length=20, choices=Kind)
    endpoint = models.CharField(max_length=500, help_text="URL of the hub, or absolute path of the directory")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "endpoint"], name="upstream_once"),
            one_of("upstream", "kind", ["huggingface", "directory"]),
        ]

    def __str__(self) -> str:
        return self.endpoint

    @property
    def host(self) -> str:
        """What a person calls it: the host of a hub, the path of a directory."""
        return self.endpoint.split("://", 1)[-1] if self.kind == self.Kind.HUGGINGFACE else self.endpoint
