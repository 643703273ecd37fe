"""Blob: bytes we hold, named by sha256; when last verified."""

from django.db import models
from django.db.models import Exists, OuterRef

from registry.models.rules import GIT_OID, SHA256, matches, not_negative, one_of

# The reverse relations whose rows need the bytes. Verdicts are not among them: they go with what they are about.
NEEDED_BY = ["files", "artifacts", "imatrices", "reports", "readings", "uploads"]


class BlobQuerySet(models.QuerySet["Blob"]):
    def needed(self) -> "BlobQuerySet":
        """The blobs that a file, an artifact, an importance matrix, a report, a reading or an upload refers to."""
        wanted = models.Q()
        for name in NEEDED_BY:
            field = Blob._meta.get_field(name).field  # type: ignore[union-attr]  # a reverse relation has one
            mine = {field.name: OuterRef(field.target_field.name)}
            wanted |= models.Q(Exists(field.model._default_manager.filter(**mine)))
        return self.filter(wanted)


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

    objects = BlobQuerySet.as_manager()

    class Meta:
        constraints = [
            matches("blob", "sha256", SHA256),
            matches("blob", "git_oid", GIT_OID),
            not_negative("blob", "size_bytes"),
            one_of("blob", "state", ["present", "missing", "damaged", "evicted"]),
        ]

    def __str__(self) -> str:
        return self.sha256
