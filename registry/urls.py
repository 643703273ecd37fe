"""The table of contents of the web: our pages, and the Hub-compatible API beside them."""

from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path

from mirror.hub import urls as hub
from mirror.hub.doors import door
from mirror.hub.operating import answer_with_job
from registry import pages
from registry.access import Somebody


def playground(request: HttpRequest) -> HttpResponseBase:
    """Numpy and the sandbox are imported by the first who plays, not by every web process."""
    from conversion.playground import say

    return say(request)


@door("POST")
def convert(request: HttpRequest, user: Somebody) -> HttpResponseBase:
    """Numpy is imported by the first who asks; the rest of the API for operators is mirror/hub/operating.py."""
    from conversion.requesting import request_conversion

    return answer_with_job(request, request_conversion)


urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("api/holdfast/v1/playground", playground),  # before the hub, which answers for the rest of /api/
    path("api/holdfast/v1/convert", convert),
    path("", include(hub.by_beginning(hub.urlpatterns))),  # first: what a client asks for wins
    path("", include(pages)),
]

handler404 = pages.handler404
handler500 = pages.handler500
