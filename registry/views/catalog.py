"""The catalog: what is here, and how to find it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.db.models import Count, Min, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from registry.access import Somebody, known_parents, visible_repos
from registry.models import Artifact, File, Lineage, Repo
from registry.models.repo import RepoQuerySet
from registry.search import FACETS, PAGE, SORTS, Filters, search, tally
from registry.views.paging import Pages


@dataclass(frozen=True)
class Result:
    """One row of the list: a repo and what is said about it."""

    repo: Repo
    n_variants: int
    oldest_check: datetime | None
    parents: list[Lineage]


def home(request: HttpRequest) -> HttpResponse:
    """The catalog list for the query string. The number of queries does not depend on the number of repos."""
    user = request.user
    filters, repos = Filters.read(request.GET), visible_repos(user)
    found = search(repos, filters)
    total = found.count()
    pages = Pages(
        min(filters.page, max(1, -(-total // PAGE))), PAGE, total, lambda number: filters.link(page=number)
    )
    return render(request, "catalog/home.html", {
        "section": "catalog", "filters": filters, "pages": pages, "total": total,
        "results": describe(list(found[pages.slice]), user),
        "facets": [facet for facet in tally(repos, filters) if facet[1]],
        "chips": chips(filters), "sorts": [(name, words) for name, (words, _) in SORTS.items()],
        "holding": holding(repos) if filters.is_empty else None, "hide_search": True,
    })  # fmt: skip


def chips(filters: Filters) -> list[tuple[str, str]]:
    """Each active filter in words, with the URL of the search without it."""
    texts = [(f"“{filters.text}”", filters.link(text=""))] if filters.text else []
    return texts + [
        (FACETS[name].words(value), filters.without(name, value))
        for name, values in filters.chosen.items()
        for value in values
    ]


def holding(repos: RepoQuerySet) -> dict[str, Any]:
    """How much is kept in these repos, as published. One query."""
    return repos.aggregate(size_bytes=Sum("head__size_bytes"))


def describe(repos: list[Repo], user: Somebody) -> list[Result]:
    """The repos of one page with variants, checks and parents. Four queries for any number of rows."""
    ids, heads = [repo.pk for repo in repos], [repo.head_id for repo in repos]
    variants = _numbers(Artifact.objects.filter(source__in=heads, state="published"), "source__repo")
    variants |= _numbers(Artifact.objects.filter(published_in__repo__in=ids), "published_in__repo")
    checks = dict(
        File.objects.filter(commit__in=heads).values_list("commit").annotate(oldest=Min("blob__verified_at"))
    )
    parents: dict[int, list[Lineage]] = {}
    for edge in Lineage.objects.filter(known_parents(user), child__in=ids).order_by("pk"):
        parents.setdefault(edge.child_id, []).append(edge)
    return [
        Result(
            repo, variants.get(repo.pk, 0), checks.get(cast(int, repo.head_id)), parents.get(repo.pk, [])[:1]
        )
        for repo in repos
    ]


def _numbers(rows: Any, group: str) -> dict[int, int]:
    return dict(rows.order_by().values_list(group).annotate(number=Count("recipe", distinct=True)))
