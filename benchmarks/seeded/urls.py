"""Holdfast's own URLs behind a view that does nothing: what Django and the server take by themselves."""

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path

from registry.urls import handler404, handler500

__all__ = ["handler404", "handler500", "urlpatterns"]


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns: list[URLPattern | URLResolver] = [
    path("empty", empty),
    path("", include("registry.urls")),
]
