"""Upload: bytes that somebody brought for a repo and that no commit of it names yet."""

from django.conf import settings
from django.db import models

from registry.models.blob import Blob
from registry.models.repo import Repo
from registry.models.rules import SHA256, matches, not_negative


class Upload(models.Model):
    """An LFS object on its way into a repo: announced, then sent, then verified by us (`blob` is set).

    Only a verified one may be named by a commit. It also proves that whoever brought it has the bytes: knowing the
    sha256 of what somebody else keeps private is no way to get it. Hence a row, and a stage, for each who brings it.
    """

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="uploads")
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    blob = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="uploads")
    parts = models.JSONField(
        default=dict, help_text="how a multipart upload is staged, while it is under way"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField(auto_now=True, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repo", "sha256", "created_by"], name="upload_once"),
            matches("upload", "sha256", SHA256),
            not_negative("upload", "size_bytes"),
        ]

    def __str__(self) -> str:
        return self.sha256
