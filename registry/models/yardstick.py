"""Yardstick: how far our own plain requantisation of a parent is from it."""

from django.db import models
from django.db.models import Q

from registry.models.commit import Commit
from registry.models.rules import SHA256, matches, not_negative


class Yardstick(models.Model):
    """What a file of this type may cost at best with our own quantiser: others are held against it.

    `key` is the digest of all that the figures depend on: the reading of the parent, the file type, the converter and
    its rules. No importance matrix, no overrides.
    """

    key = models.CharField(max_length=64, unique=True)
    parent = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="yardsticks")
    file_type = models.CharField(max_length=20, help_text="e.g. Q4_K_M")
    converter = models.CharField(max_length=60)
    engine = models.CharField(max_length=100)
    limits_version = models.PositiveSmallIntegerField()
    mean_kld = models.FloatField()
    kld_error = models.FloatField(help_text="standard error of the mean")
    figures = models.JSONField(help_text="everything that was measured of it")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            matches("yardstick", "key", SHA256),
            not_negative("yardstick", "mean_kld"),
            not_negative("yardstick", "kld_error"),
            models.CheckConstraint(condition=~Q(file_type=""), name="yardstick_file_type_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.file_type} of {self.parent_id}"
