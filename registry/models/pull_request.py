"""PullRequest: commits that somebody offers to a branch; they live under `refs/pr/<number>`."""

from django.conf import settings
from django.db import models

from registry.models.repo import Repo
from registry.models.rules import one_of


class PullRequest(models.Model):
    """An offer of commits. Its ref is `Ref(kind=pr, name=str(number))`; numbers begin at 1 in each repo."""

    class Status(models.TextChoices):
        DRAFT = "draft", "draft"
        OPEN = "open", "open"
        CLOSED = "closed", "closed"
        MERGED = "merged", "merged"

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="pull_requests")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=500)
    description = models.TextField(blank=True)
    base = models.CharField(max_length=250, default="main", help_text="the branch it is offered to")
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    merge_commit = models.CharField(max_length=40, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repo", "number"], name="pull_request_once"),
            one_of("pullrequest", "status", ["draft", "open", "closed", "merged"]),
        ]

    def __str__(self) -> str:
        return f"{self.repo}#{self.number}"
