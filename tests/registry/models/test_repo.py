"""Names of repos and the URLs of this service do not meet."""

from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver

from registry.models.repo import RESERVED_NAMESPACES


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


def test_every_first_segment_of_our_urls_is_reserved() -> None:
    firsts = {route.partition("/")[0] for route in routes(get_resolver().url_patterns) if "/" in route}
    assert {first for first in firsts if "<" not in first} <= RESERVED_NAMESPACES
