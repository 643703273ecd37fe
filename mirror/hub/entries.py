"""What an entry of the list of repos says under `holdfast`: what other hubs do not keep, for `holdfast search`."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from mirror.hub.listed import ListedRepo
from mirror.hub.wire import Json
from registry.gone import with_gone
from registry.models import Artifact, File, Repo
from registry.search import with_verdict
from registry.variants import type_in

MOST_TYPES = 50


def own_facts(repos: Iterable[ListedRepo]) -> dict[int, Json]:
    """{pk of a repo: its facts}. Four queries, whatever the number; the repos come with their heads."""
    rows = list(repos)
    types, told = _quantizations(rows), _told([repo.pk for repo in rows])
    return {repo.pk: _of_head(repo) | {"quantizations": types[repo.pk]} | told[repo.pk] for repo in rows}


def _of_head(repo: ListedRepo) -> Json:
    head = repo.head
    return {
        "parameter_count": head.parameter_count,
        "size_bytes": head.size_bytes,
        "context_length": head.context_length,
        "architecture": head.architecture or None,
        "license": head.license or None,
        "formats": head.facts.get("formats", []),
    }


def _told(repos: list[int]) -> dict[int, Json]:
    found: Any = with_gone(with_verdict(Repo.objects.filter(pk__in=repos)))
    return {
        pk: {"verdict": verdict, "upstream_gone": bool(is_gone)}
        for pk, verdict, is_gone in found.values_list("pk", "verdict", "is_gone")
    }


def _quantizations(repos: list[ListedRepo]) -> dict[int, list[str]]:
    """The types of the GGUF files of each head, and of what was made of it here in the open. Three queries."""
    found: dict[int, set[str]] = defaultdict(set)
    keys = [repo.pk for repo in repos]
    files = File.objects.filter(commit__in=[repo.head_id for repo in repos], path__iendswith=".gguf")
    for pk, path in files.values_list("commit__repo_id", "path"):
        name = type_in(str(PurePosixPath(path).with_suffix("")))
        if name.isupper():
            found[pk].add(name)
    made = Artifact.objects.filter(state=Artifact.State.PUBLISHED)
    for column, open_only in (("source__repo_id", True), ("published_in__repo_id", False)):
        rows = made.filter(**{f"{column}__in": keys})
        rows = rows.filter(published_in__repo__private=False) if open_only else rows
        for pk, name in rows.values_list(column, "recipe__name").distinct():
            found[pk].add(name)
    return defaultdict(list, {pk: sorted(names)[:MOST_TYPES] for pk, names in found.items()})
