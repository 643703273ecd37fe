"""What was done to a repo, by whom and when: the append-only record."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from registry.access import may_operate
from registry.models import Event, Upstream
from registry.views.frame import open_repo
from registry.views.paging import pages_of

PAGE = 100


def told(events: list[Event], upstream: Upstream | None, full: bool) -> list[Event]:
    """The events with their sentences fit for this visitor: the paths of this machine are for staff only."""
    if full or upstream is None or upstream.kind != Upstream.Kind.DIRECTORY:
        return events
    for event in events:
        event.summary = event.summary.replace(f"dir:{upstream.endpoint}", "a directory of the operator")
        event.summary = event.summary.replace(upstream.endpoint, "a directory of the operator")
    return events


def events(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """All events of the repo, newest first."""
    frame = open_repo(request, namespace, name)
    pages = pages_of(request, frame.repo.n_events, PAGE)  # type: ignore[attr-defined]  # annotated by the frame
    rows = Event.objects.filter(repo=frame.repo).select_related("commit", "blob", "artifact")
    shown = rows.order_by("-happened_at", "-pk")[pages.slice]
    return render(request, "catalog/events.html", frame.context(
        "events", events=told(list(shown), frame.repo.upstream, may_operate(request.user)), pages=pages,
    ))  # fmt: skip
