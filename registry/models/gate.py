"""Gate: which verdicts are enough to be published, and to be pulled by default."""

from fnmatch import fnmatchcase
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from registry.models.rules import matches

ADMISSIBLE = ["verified", "loads", "partial", "unsupported", "untested"]
"""What a gate may let through. `damaged` is not among them: only an override that names the very bytes can."""

_ONE = "|".join(ADMISSIBLE)
VERDICT_LIST = rf"^(({_ONE})(,({_ONE}))*)?$"


class Gate(models.Model):
    """What is asked of the files in repos of that name. The most exact pattern decides (registry/gates.py)."""

    repos = models.CharField(
        max_length=200, help_text="repo ids it is for, with * and ?, e.g. acme/* or *-GGUF"
    )
    publish = models.CharField(
        max_length=60, blank=True, help_text="verdicts that are published, e.g. verified,loads; empty: none"
    )
    pull = models.CharField(
        max_length=60, blank=True, help_text="verdicts that are pulled without being asked for; empty: none"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["repos"]
        constraints = [
            models.UniqueConstraint(Lower("repos"), name="gate_once"),
            models.CheckConstraint(condition=~Q(repos=""), name="gate_repos_not_empty"),
            matches("gate", "publish", VERDICT_LIST),
            matches("gate", "pull", VERDICT_LIST),
        ]

    def __str__(self) -> str:
        return self.repos

    def is_for(self, repo_id: str) -> bool:
        return fnmatchcase(repo_id.lower(), self.repos.lower())

    @property
    def publishes(self) -> frozenset[str]:
        return frozenset(filter(None, self.publish.split(",")))

    @property
    def pulls(self) -> frozenset[str]:
        return frozenset(filter(None, self.pull.split(",")))

    def as_json(self) -> dict[str, Any]:
        return {"repos": self.repos, "publish": sorted(self.publishes), "pull": sorted(self.pulls)}
