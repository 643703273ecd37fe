"""Lineage: child, parent, relation."""

from django.db import models

from registry.models.commit import Commit
from registry.models.repo import Repo
from registry.models.rules import one_of


class Lineage(models.Model):
    """One edge: `child` was made from `parent`. The parent may be a repo that we do not hold."""

    class Relation(models.TextChoices):
        FINETUNE = "finetune", "fine-tune"
        ADAPTER = "adapter", "adapter"
        MERGE = "merge", "merge"
        QUANTIZED = "quantized", "quantization"
        CONVERSION = "conversion", "conversion"
        FORK = "fork", "fork"

    class Evidence(models.TextChoices):
        DECLARED = "declared", "declared by its author"
        MADE_HERE = "made_here", "made here"
        PROVED = "proved", "proved by tensors"

    child = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="parent_edges")
    child_commit = models.ForeignKey(
        Commit, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    parent = models.ForeignKey(
        Repo, null=True, blank=True, on_delete=models.SET_NULL, related_name="child_edges"
    )
    parent_commit = models.ForeignKey(
        Commit, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    parent_repo_id = models.CharField(max_length=200, help_text="as written, also when we do not hold it")
    relation = models.CharField(max_length=12, choices=Relation)
    evidence = models.CharField(max_length=12, choices=Evidence)
    recorded_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["child", "parent_repo_id", "relation", "evidence"], name="lineage_once"
            ),
            one_of("lineage", "relation", list(map(str, ["finetune", "adapter", "merge", "quantized",
                                                         "conversion", "fork"]))),
            one_of("lineage", "evidence", ["declared", "made_here", "proved"]),
        ]  # fmt: skip
