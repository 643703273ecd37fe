"""Which repos their upstream no longer has: it said so when it was last asked, and what we hold stays.

What is known is what jobs found out: a `mirror` job, or a `lookup` of a repo that is held, that failed with
`repo-not-found` after the last time that upstream did answer for the repo. A hub says the same of a repo that was
deleted, renamed without a redirect, or made private. Lookups are forgotten after a day (mirror/through/lookups.py).
"""

from typing import Any, cast

from django.db.models import Exists, OuterRef, Q
from django.db.models.fields.json import KT

from registry.models import Job, Upstream
from registry.models.repo import RepoQuerySet

_CODE = "repo-not-found"


def with_gone(repos: RepoQuerySet) -> RepoQuerySet:
    """Each repo with `is_gone`: upstream's last word was that it has no such repo. No query of its own."""
    refused = Job.objects.filter(state=Job.State.FAILED, error_code=_CODE)
    later = refused.filter(finished_at__gt=OuterRef("synced_at"))
    looked_up = later.filter(kind="lookup", repo=OuterRef("pk"))
    mirrored: Any = later.filter(kind="mirror")
    mirrored = mirrored.alias(asked=KT("params__upstream_repo_id"), at=KT("params__endpoint"))
    mirrored = mirrored.filter(asked=OuterRef("upstream_repo_id"), at=OuterRef("upstream__endpoint"))
    of_hub = Q(upstream__kind=Upstream.Kind.HUGGINGFACE)
    return repos.annotate(is_gone=of_hub & (Q(Exists(looked_up)) | Q(Exists(mirrored))))


def gone_or_not(repos: RepoQuerySet, *, is_gone: bool) -> RepoQuerySet:
    """Those that upstream no longer has, or those for which nobody knows that."""
    annotated: Any = with_gone(repos)
    return cast(RepoQuerySet, annotated.filter(is_gone=is_gone))
