"""Looking for models: the Hub's own list endpoint, with what only a Holdfast index can filter by and tells.

Several indexes are asked in order, and a name that an earlier one knows is shown as that one has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from holdfast.asking.told import as_dict, number, text, texts
from holdfast.errors import Offline, UsageError
from holdfast.output import Output
from holdfast.reference import is_repo_id
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.sources.indexes import hub_urls, open_index
from holdfast.sources.remote import COMMIT
from holdfast.text import printable

SORTS = {"created": "createdAt", "modified": "lastModified", "downloads": "downloads", "likes": "likes"}
PAGE = 100
MAX_PAGES = 1000
FORMATS = ("safetensors", "gguf", "onnx", "pytorch")
EXPANDED = ("tags", "pipeline_tag", "library_name", "lastModified", "downloads", "likes", "gated", "private",
            "safetensors", "gguf", "sha")  # fmt: skip
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_AMOUNT = r"\d{1,9}(?:\.\d{1,9})?[KMBT]?"
_RANGE = re.compile(rf"({_AMOUNT})?\.\.({_AMOUNT})?|({_AMOUNT})", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """What a person looks for."""

    words: tuple[str, ...] = ()
    author: str | None = None
    task: str | None = None
    parameters: tuple[str, str] | None = None  # least and most, as `6B`; "" for no bound
    licence: str | None = None
    formats: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    validated: bool = False
    upstream_gone: bool = False
    sort: str = "created"

    @property
    def needs_holdfast(self) -> str | None:
        """The flag that only a Holdfast index understands, if one was given."""
        if self.quantizations:
            return "--quant"
        return "--validated" if self.validated else "--upstream-gone" if self.upstream_gone else None

    def pairs(self, limit: int) -> list[tuple[str, str]]:
        """The query string of `GET /api/models`."""
        pairs = [("limit", str(limit)), ("sort", SORTS[self.sort]), ("direction", "-1"), ("holdfast", "true")]
        pairs += [("search", " ".join(self.words))] if self.words else []
        pairs += [("author", self.author)] if self.author else []
        pairs += [("pipeline_tag", self.task)] if self.task else []
        pairs += [("filter", f"license:{self.licence.lower()}")] if self.licence else []
        pairs += [("filter", name.lower()) for name in self.formats]
        if self.parameters:
            bounds = [f"{word}:{value}" for word, value in zip(("min", "max"), self.parameters) if value]
            pairs.append(("num_parameters", ",".join(bounds)))
        pairs += [("quantization", name) for name in self.quantizations]
        pairs += [("verdict", "verified")] if self.validated else []
        pairs += [("upstream_gone", "true")] if self.upstream_gone else []
        return pairs + [("expand", name) for name in EXPANDED]


@dataclass(frozen=True)
class Found:
    """One model of the answer; None for what the index does not tell."""

    index_url: str
    repo_id: str
    commit: str | None
    parameter_count: int | None
    task: str | None
    licence: str | None
    formats: tuple[str, ...]
    quantizations: tuple[str, ...]
    size_bytes: int | None
    verdict: str | None
    upstream_gone: bool | None
    gated: bool
    private: bool
    downloads: int | None
    likes: int | None
    modified: str | None

    def as_json(self) -> dict[str, Any]:
        """The object in the list `models`."""
        return {**vars(self), "formats": list(self.formats), "quantizations": list(self.quantizations)}


def read_range(text: str) -> tuple[str, str]:
    """`6B..13B`, `6B..`, `..13B`, or `7B` for a quarter more or less. Raises ValueError."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError(text)
    least, most, about = (part.upper() if part else "" for part in match.groups())
    if about:
        unit = about[-1] if about[-1] in _UNITS else ""
        number = float(about.rstrip("KMBT"))
        return f"{number * 0.75:.9g}{unit}", f"{number * 1.25:.9g}{unit}"
    return least, most


read_range.__name__ = "range"  # what argparse calls it


def search(
    query: Query, settings: Settings, out: Output, *, start: int, count: int | None
) -> tuple[list[Found], bool]:
    """`count` models from `start` on (None: all), and whether there are more. Asks for no more pages than it needs."""
    if settings.offline:
        raise Offline("offline: searching asks an index", hint="holdfast list shows what is here.")
    if not hub_urls(settings):
        raise UsageError("there is no index to search", hint="leave --no-index out, or name one: -i URL")
    wanted = None if count is None else start + count
    models = _everywhere(query, settings, out, PAGE if wanted is None else min(wanted + 1, PAGE))
    found = list(islice(models, start, None if wanted is None else wanted + 1))
    return (found, False) if count is None else (found[:count], len(found) > count)


def _everywhere(query: Query, settings: Settings, out: Output, page: int) -> Iterator[Found]:
    seen: set[str] = set()
    for url in hub_urls(settings):
        for model in _of_index(open_index(url, settings, out), query, page):
            if model.repo_id.casefold() not in seen:
                seen.add(model.repo_id.casefold())
                yield model


def _of_index(hub: Hub, query: Query, page: int) -> Iterator[Found]:
    path: str | None = f"api/models?{urlencode(query.pairs(page))}"
    seen: set[str] = set()
    while path is not None and path not in seen and len(seen) < MAX_PAGES:
        seen.add(path)
        entries, path = hub.get(path, "search")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and is_repo_id(entry.get("id")):
                if query.needs_holdfast and not isinstance(entry.get("holdfast"), dict):
                    raise _cannot_filter(hub, query.needs_holdfast)
                yield _found(entry, hub.index_url)


def _cannot_filter(hub: Hub, flag: str) -> UsageError:
    return UsageError(
        f"{printable(hub.index_url)} is no Holdfast index and cannot filter by {flag}",
        hint=f"Leave {flag} out there, or name a Holdfast index: -i URL",
    )


def _found(entry: Mapping[str, Any], index_url: str) -> Found:
    own = as_dict(entry.get("holdfast"))
    tags = texts(entry.get("tags"))
    licences = [tag.partition(":")[2] for tag in tags if tag.startswith("license:")]
    counts = [as_dict(entry.get(name)).get("total") for name in ("safetensors", "gguf")]
    gone, commit = own.get("upstream_gone"), entry.get("sha")
    return Found(
        index_url=index_url,
        repo_id=str(entry["id"]),
        commit=commit if isinstance(commit, str) and COMMIT.match(commit) else None,
        parameter_count=next(filter(None, map(number, (own.get("parameter_count"), *counts))), None),
        task=text(entry.get("pipeline_tag")),
        licence=text(own.get("license")) or (licences[0] if licences else None),
        formats=texts(own.get("formats")) or tuple(name for name in FORMATS if name in tags),
        quantizations=texts(own.get("quantizations")),
        size_bytes=number(own.get("size_bytes")),
        verdict=text(own.get("verdict")),
        upstream_gone=gone if isinstance(gone, bool) else None,
        gated=bool(entry.get("gated")),
        private=entry.get("private") is True,
        downloads=number(entry.get("downloads")),
        likes=number(entry.get("likes")),
        modified=text(entry.get("lastModified")),
    )
