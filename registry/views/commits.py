"""The history of a repo: its branches and tags, and every commit that is kept."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from registry.models import Commit
from registry.views.frame import open_repo
from registry.views.paging import pages_of

PAGE = 50


def commits(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Branches, tags, and commits newest first."""
    frame = open_repo(request, namespace, name)
    rows = Commit.objects.filter(repo=frame.repo).defer("card", "card_data", "upstream_info", "facts")
    pages = pages_of(request, frame.repo.n_commits, PAGE)  # type: ignore[attr-defined]  # annotated by the frame
    names: dict[int, list[str]] = {}
    for ref in frame.refs:
        names.setdefault(ref.commit_id, []).append(ref.name)
    shown = [
        (commit, names.get(commit.pk, [])) for commit in rows.order_by("-recorded_at", "-pk")[pages.slice]
    ]
    return render(request, "catalog/commits.html", frame.context("commits", commits=shown, pages=pages))
