"""What a person sees when there is nothing, and when we failed. templates/403_csrf.html is found by Django itself."""

import logging
import secrets

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone

from registry.access import visible_repos

logger = logging.getLogger(__name__)

NEAREST = 5


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 with the nearest names that we do hold."""
    message = str(exception) if isinstance(exception, Http404) and exception.args else ""
    if not message or "tried" in message or "{" in message:  # Django's own words are for programmers
        message = f"There is no page {request.path}."
    return render(request, "errors/404.html", {"message": message, "nearest": _nearest(request)}, status=404)


def _nearest(request: HttpRequest) -> list[str]:
    parts = [part for part in request.path.split("/") if part]
    if len(parts) < 2 or "\0" in request.path:
        return []
    visible = visible_repos(request.user)
    found = visible.filter(name__icontains=parts[1][:96]).values_list("repo_id", flat=True)[:NEAREST]
    return list(found) or list(
        visible.filter(namespace__iexact=parts[0][:96]).values_list("repo_id", flat=True)[:NEAREST]
    )


def failed(request: HttpRequest) -> HttpResponse:
    """500, made without database, session or user: any of them may be what is broken."""
    reference = f"{secrets.token_hex(2)}-{secrets.token_hex(2)}"
    logger.error("reference %s: %s %s failed", reference, request.method, request.path)
    page = render_to_string(
        "errors/500.html", {"reference": reference, "now": timezone.now(), "path": request.path}
    )
    return HttpResponse(page, status=500)
