"""Imatrix: an importance matrix that recipes of one commit may use."""

from django.db import models

from registry.models.blob import Blob
from registry.models.commit import Commit


class Imatrix(models.Model):
    """Which columns of each weight matter, measured on a text; its bytes are a blob, its sha256 part of a recipe."""

    commit = models.ForeignKey(Commit, on_delete=models.PROTECT, related_name="imatrices")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="imatrices")
    name = models.CharField(max_length=200, help_text="the file's name, as quantised files will state it")
    dataset = models.CharField(max_length=300, blank=True, help_text="the text that it was measured on")
    n_chunks = models.IntegerField(help_text="windows of text that were read")
    n_entries = models.IntegerField(help_text="weights that it speaks of")
    made_here = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "imatrices"
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["commit", "blob"], name="imatrix_once"),
            models.CheckConstraint(condition=models.Q(n_chunks__gte=0), name="imatrix_n_chunks_not_negative"),
            models.CheckConstraint(condition=models.Q(n_entries__gt=0), name="imatrix_n_entries_positive"),
        ]

    def __str__(self) -> str:
        return self.name
