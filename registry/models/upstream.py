"""Upstream, Binding: a hub or site we copy from; which upstream answers for a name, once and for all."""

from django.db import models
from django.db.models.functions import Lower

from registry.models.rules import not_negative, one_of


class Upstream(models.Model):
    """One place that weights come from, how fast we may ask it, and when it asked us to wait.

    All workers and web processes share the pace (mirror/pace.py): `next_request_at` is moved on by each request, and
    nobody asks before `paused_until`, which a 429 sets. The token is kept encrypted; one in the environment
    (HOLDFAST_UPSTREAM_TOKENS) wins.
    """

    class Kind(models.TextChoices):
        HUGGINGFACE = "huggingface", "Hub-compatible endpoint"
        DIRECTORY = "directory", "directory"

    kind = models.CharField(max_length=20, choices=Kind)
    endpoint = models.CharField(max_length=500, help_text="URL of the hub, or absolute path of the directory")
    created_at = models.DateTimeField(auto_now_add=True)
    sealed_token = models.TextField(
        blank=True, help_text="the access token, encrypted with the service's secret key"
    )
    requests_per_second = models.FloatField(
        null=True, blank=True, help_text="set by an operator; null: as fast as it goes"
    )
    learned_per_second = models.FloatField(
        null=True,
        blank=True,
        help_text="what it seems to bear since it last said 429; null: never asked to wait",
    )
    ceiling_per_second = models.FloatField(
        null=True, blank=True, help_text="how fast we asked when it said 429: approached slowly from then on"
    )
    next_request_at = models.DateTimeField(null=True, blank=True)
    paused_until = models.DateTimeField(null=True, blank=True, help_text="it said 429: nobody asks before")
    answered_at = models.DateTimeField(null=True, blank=True, help_text="when it last gave a good answer")
    trouble_at = models.DateTimeField(null=True, blank=True, help_text="when it last did not")
    trouble = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "endpoint"], name="upstream_once"),
            not_negative("upstream", "requests_per_second"),
            not_negative("upstream", "learned_per_second"),
            not_negative("upstream", "ceiling_per_second"),
            one_of("upstream", "kind", ["huggingface", "directory"]),
        ]

    def __str__(self) -> str:
        return self.endpoint

    @property
    def host(self) -> str:
        """What a person calls it: the host of a hub, the path of a directory."""
        return self.endpoint.split("://", 1)[-1] if self.kind == self.Kind.HUGGINGFACE else self.endpoint


class Binding(models.Model):
    """Which upstream a name belongs to: decided when it was first asked for, and never again (mirror/routing.py).

    Without this, whoever registers the name at an upstream that is asked earlier would be believed from then on
    (dependency confusion). When upstream's own id or the owner of the repo changes, it is `held` for review: what
    we have is still served, nothing new is taken until an operator releases it.
    """

    class State(models.TextChoices):
        BOUND = "bound", "bound"
        HELD = "held", "held for review"

    repo_type = models.CharField(max_length=10)
    repo_id = models.CharField(max_length=200)
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="bindings")
    upstream_repo_id = models.CharField(
        max_length=200, blank=True, help_text="what upstream calls it; empty: the same"
    )
    upstream_object_id = models.CharField(
        max_length=100, blank=True, help_text="upstream's own id of the repo"
    )
    owner = models.CharField(max_length=200, blank=True, help_text="as upstream named it when we first asked")
    seen_object_id = models.CharField(
        max_length=100, blank=True, help_text="while held: the id that a release accepts"
    )
    seen_owner = models.CharField(
        max_length=200, blank=True, help_text="while held: the owner that a release accepts"
    )
    state = models.CharField(max_length=10, choices=State, default=State.BOUND)
    reason = models.CharField(max_length=500, blank=True, help_text="why it is held")
    bound_at = models.DateTimeField(auto_now_add=True)
    asked_at = models.DateTimeField(
        null=True, blank=True, help_text="when upstream was last asked what it has"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("repo_id"), "repo_type", name="binding_once"),
            one_of("binding", "state", ["bound", "held"]),
        ]

    def __str__(self) -> str:
        return f"{self.repo_id} -> {self.upstream}"
