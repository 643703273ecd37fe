"""The table of contents of the web: our pages, and the Hub-compatible API beside them."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
