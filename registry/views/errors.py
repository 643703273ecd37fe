"""What a person sees when there is nothing, and when we failed. templates/403_csrf.html is found by Django itself."""

import logging
import secrets
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone

from registry.access import visible_repos
from registry.models import Repo
from registry.repos import find_moved

logger = logging.getLogger(__name__)

NEAREST = 5


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 with the nearest names that we do hold; a repo that was moved is shown under its new name."""
    if moved := _moved(request):
        return HttpResponse(status=307, headers={"Location": moved, "Cache-Control": "no-store"})
    message = str(exception) if isinstance(exception, Http404) and exception.args else ""
    if not message or "tried" in message or "{" in message:  # Django's own words are for programmers
        message = f"There is no page {request.path}."
    return render(request, "errors/404.html", {"message": message, "nearest": _nearest(request)}, status=404)


def _moved(request: HttpRequest) -> str | None:
    """The same page under the name that the repo has now."""
    namespace, _, rest = request.path.lstrip("/").partition("/")
    name, slash, rest = rest.partition("/")
    repo = find_moved(request.user, Repo.Type.MODEL, f"{namespace}/{name}") if name else None
    if repo is None:
        return None
    query = request.META.get("QUERY_STRING", "")
    return repo.get_absolute_url() + quote(slash + rest) + (f"?{query}" if query else "")


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
