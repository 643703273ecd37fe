"""Reading: what a parent says on the evaluation texts, kept so that it need not run again."""

from django.db import models

from registry.models.blob import Blob
from registry.models.commit import Commit
from registry.models.rules import SHA256, matches


class Reading(models.Model):
    """One parent read by one engine build on one set of texts. A cache: any row may be dropped, and is made again.

    `key` is the digest of all that determines the bytes: the parent's own digests, the engine's, the texts' and how
    they are cut (conversion/inference/readings.py).
    """

    key = models.CharField(max_length=64, unique=True)
    parent = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="readings")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="readings")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [matches("reading", "key", SHA256)]

    def __str__(self) -> str:
        return self.key
