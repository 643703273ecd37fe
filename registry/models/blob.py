"""Blob: bytes we hold, named by sha256; when last verified."""

from django.db import models

from registry.models.rules import GIT_OID, SHA256, matches, not_negative, one_of


class Blob(models.Model):
    """Bytes in the blob store, immutable, under `blobs/sha256/ab/cd/<sha256>`.

    A row is written only after the object is: a crash between the two leaves an orphan object, never a row
    that names nothing.
    """

    class State(models.TextChoices):
        PRESENT = "present", "present"
        MISSING = "missing", "missing"
        DAMAGED = "damaged", "damaged"
        EVICTED = "evicted", "evicted: rebuilt on demand"

    sha256 = models.CharField(max_length=64, unique=True)
    git_oid = models.CharField(
        max_length=40, null=True, blank=True, db_index=True,
        help_text="sha1 of these bytes as a git blob; computed for files that git itself holds",
    )  # fmt: skip
    size_bytes = models.BigIntegerField()
    store = models.CharField(max_length=20, help_text="the kind of store that holds it")
    state = models.CharField(max_length=10, choices=State, default=State.PRESENT)
    stored_at = models.DateTimeField(auto_now_add=True)
    verified_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        constraints = [
            matches("blob", "sha256", SHA256),
            matches("blob", "git_oid", GIT_OID),
            not_negative("blob", "size_bytes"),
            one_of("blob", "state", ["present", "missing", "damaged", "evicted"]),
        ]

    def __str__(self) -> str:
        return self.sha256
