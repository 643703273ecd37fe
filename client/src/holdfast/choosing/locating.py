"""From what a person writes to a reference: `sha256:<hex>` is looked up, everything else says where it is."""

from __future__ import annotations

import re

from holdfast.errors import NotFound, Offline
from holdfast.output import Output
from holdfast.reference import Reference, parse_reference
from holdfast.settings import Settings
from holdfast.sources.indexes import hub_urls, open_index

_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})\Z")


def locate(text: str, settings: Settings, out: Output) -> Reference:
    """The reference; of a digest, to the file with these bytes at the first index that knows them.

    Raises UsageError, and NotFound where no index knows the bytes.
    """
    match = _DIGEST.match(text)
    if match is None:
        return parse_reference(text)
    from holdfast.asking.identifying import find_bytes  # reads headers too, which no other pull needs

    sha256 = match.group(1).lower()
    if settings.offline:
        raise Offline(
            f"offline: {text} is looked up at an index",
            hint="Name the repo: holdfast list shows what is here.",
        )
    for url in hub_urls(settings):
        known = find_bytes(open_index(url, settings, out), sha256)
        places = [place for place in known.places if place.repo_type == "model"] if known else []
        if places:
            place = max(places, key=lambda place: place.is_head)
            return Reference(
                text,
                place.repo_id,
                place.commit,
                None,
                place.path,
                None if url == settings.index_url else url,
                sha256,
            )
    raise NotFound(
        f"no index knows {text}",
        hint="Only Holdfast indexes look up bytes by their digest; -i names another.",
        sha256=sha256,
    )
