"""The page of the playground. What it asks is answered by conversion/playground.py, as it comes."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from registry.access import may_operate
from registry.views.frame import Frame, open_repo
from registry.views.validation import Judged, find_judged

EXAMPLE = "It is a truth universally acknowledged"


@login_required
def playground(request: HttpRequest) -> HttpResponse:
    """A prompt for the file that `?repo=` and `?sha256=` name; without them, how to choose one. For staff."""
    if not may_operate(request.user):
        raise Http404("The playground is for the staff of this registry.")
    frame, judged = _chosen(request)
    return render(request, "catalog/playground.html", {
        "section": "playground", "frame": frame, "judged": judged, "example": EXAMPLE,
        "most_tokens": settings.HOLDFAST_PLAYGROUND_TOKENS, "most_seconds": settings.HOLDFAST_PLAYGROUND_SECONDS,
        "default_tokens": min(64, settings.HOLDFAST_PLAYGROUND_TOKENS),
        "is_open": settings.HOLDFAST_PLAYGROUND_AT_ONCE > 0,
    })  # fmt: skip


def _chosen(request: HttpRequest) -> tuple[Frame | None, Judged | None]:
    namespace, _, name = request.GET.get("repo", "").partition("/")
    if not namespace:
        return None, None
    frame = open_repo(request, namespace, name)
    judged = find_judged(frame, request.GET.get("sha256", "").replace("\0", ""))
    if not judged.can_speak:
        raise Http404(f"{judged.path} is no GGUF whose bytes are here, so it cannot speak.")
    return frame, judged
