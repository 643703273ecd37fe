"""Policy: which artifacts the checkpoints of some repos should have."""

from fnmatch import fnmatchcase
from typing import Any

from django.db import models

from registry.models.repo import Repo


def _no_recipes() -> list[str]:
    return []


class Policy(models.Model):
    """Such as: every base model up to 9 billion parameters gets Q4_K_M, Q6_K and Q8_0.

    Asked whenever a commit was inspected. `manage.py policy` edits it, since only conversion knows the file types.
    """

    name = models.CharField(max_length=100, unique=True)
    repos = models.CharField(
        max_length=200, default="*", help_text="repo ids it is for, with * and ?, e.g. acme/* or *"
    )
    max_parameters = models.BigIntegerField(
        null=True, blank=True, help_text="only checkpoints of at most so many parameters; empty for any"
    )
    base_only = models.BooleanField(
        default=False, help_text="only models that declare no parent: no fine-tunes, merges or quantisations"
    )
    recipes = models.JSONField(default=_no_recipes, help_text='file types, e.g. ["Q4_K_M", "Q8_0"]')
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(max_parameters__isnull=True) | models.Q(max_parameters__gt=0),
                name="policy_max_parameters_positive",
            ),
            models.CheckConstraint(condition=~models.Q(repos=""), name="policy_repos_not_empty"),
        ]

    def __str__(self) -> str:
        return self.name

    def applies_to(self, repo: Repo, parameter_count: int | None) -> bool:
        """Whether a checkpoint of this repo falls under it. One query if it is for base models only."""
        if not fnmatchcase(repo.repo_id.lower(), self.repos.lower()):
            return False
        if (
            self.max_parameters is not None
            and (parameter_count or self.max_parameters + 1) > self.max_parameters
        ):
            return False
        return not self.base_only or not repo.parent_edges.exists()

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "repos": self.repos, "max_parameters": self.max_parameters,
            "base_only": self.base_only, "recipes": self.recipes, "is_active": self.is_active,
        }  # fmt: skip
