"""The table of contents of the web: our pages, and the Hub-compatible API beside them."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from mirror.hub import urls as hub
from registry import pages

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("", include(hub)),  # first: what a client asks for wins
    path("", include(pages)),
]

handler404 = pages.handler404
handler500 = pages.handler500
