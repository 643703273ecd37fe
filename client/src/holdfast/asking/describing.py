"""Everything that an index tells of one model, in one object; what it does not tell is None or empty.

A Holdfast index is asked for its lineage, copies and variants as well. A folder, a bundle or, offline, the cache tell
the files, and the licence that their own card names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from holdfast.asking.reading import MAX_READ_BYTES, Reader
from holdfast.asking.told import as_dict, number, text, texts
from holdfast.choosing.choices import as_facts
from holdfast.choosing.selection import every_choice
from holdfast.errors import NotFound
from holdfast.lists.licences import read_licence
from holdfast.output import Output
from holdfast.reference import Reference, address, is_repo_id
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.sources.indexes import open_source
from holdfast.sources.offline import CachedIndex
from holdfast.sources.remote import Choice, RemoteFile
from holdfast.text import format_bytes

CARD = "README.md"
MAX_RELATIVES = 1000


@dataclass(frozen=True)
class Relative:
    """Another repo that this one was made from, or that was made of it."""

    repo_id: str
    relation: str
    evidence: str
    is_held: bool


@dataclass(frozen=True)
class Copies:
    """How an index keeps the bytes. Dates are ISO 8601; None if never."""

    is_complete: bool
    n_blobs: int
    n_present: int
    n_never_checked: int
    stores: tuple[str, ...]
    oldest_check: str | None
    newest_check: str | None
    upstream: str | None
    upstream_repo_id: str | None
    upstream_asked_at: str | None
    upstream_trouble: str


@dataclass(frozen=True)
class Description:
    """One model at one commit."""

    address: str  # the reference that names it, without variant and path
    repo_id: str
    index_url: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]
    choices: tuple[Choice, ...]
    licence: str | None = None
    task: str | None = None
    library: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    architecture: str | None = None
    parameter_count: int | None = None
    context_length: int | None = None
    gated: bool = False
    private: bool = False
    downloads: int | None = None
    likes: int | None = None
    modified: str | None = None
    base_models: tuple[str, ...] = ()
    parents: tuple[Relative, ...] = ()
    children: tuple[Relative, ...] = ()
    copies: Copies | None = None
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def as_json(self) -> dict[str, Any]:
        """The result of `show --json`."""
        parts: dict[str, Any] = {
            "files": [_file_facts(file) for file in self.files],
            "choices": as_facts(self.choices),
            "parents": [vars(one) for one in self.parents],
            "children": [vars(one) for one in self.children],
            "copies": None
            if self.copies is None
            else {**vars(self.copies), "stores": list(self.copies.stores)},
            "size_bytes": self.size_bytes,
        }
        lists = {name: list(getattr(self, name)) for name in ("languages", "tags", "base_models")}
        return {**vars(self), **lists, **parts}


def _file_facts(file: RemoteFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "git_oid": file.git_oid,
    }


def describe(reference: Reference, settings: Settings, out: Output) -> Description:
    """What the first index that knows the name tells of the revision. Raises NotFound."""
    repo_id, revision = reference.repo_id, reference.revision
    if settings.offline:
        cached = CachedIndex(settings.cache_dir)
        return _of_files(
            cached, "the cache", reference, Reader(None, settings.cache_dir, repo_id, "", retries=0)
        )
    source = open_source(reference, settings, out)
    found = source.source_of(repo_id, revision)
    if isinstance(found, Hub):
        return _of_hub(found, reference)
    reader = Reader(found, settings.cache_dir, repo_id, "", retries=settings.retries)
    return _of_files(found, found.index_url, reference, reader)


def read_card(described: Description, reference: Reference, settings: Settings, out: Output) -> str:
    """The text of the model's card, verified. Raises NotFound if it has none, or one too long to read."""
    file = next((file for file in described.files if file.path == CARD), None)
    if file is not None:
        source = None if settings.offline else open_source(reference, settings, out)
        reader = Reader(
            source, settings.cache_dir, described.repo_id, described.commit, retries=settings.retries
        )
        data = reader.read(file)
        if data is not None:
            return data.decode("utf-8", "replace")
    what = "has no README.md" if file is None else f"has a README.md of {format_bytes(file.size_bytes)}"
    raise NotFound(
        f"{described.repo_id}@{described.commit[:12]} {what}, and nothing was read",
        hint=f"At most {format_bytes(MAX_READ_BYTES)} are read; holdfast pull {described.repo_id}//{CARD} fetches it."
        if file
        else "holdfast show --files lists what there is.",
        repo_id=described.repo_id,
    )


def _of_files(index: Any, index_url: str, reference: Reference, reader: Reader) -> Description:
    commit = index.resolve(reference.repo_id, reference.revision)
    files = tuple(index.list_files(reference.repo_id, commit))
    reader.commit = commit
    choices = every_choice(index, reference.repo_id, reference.revision, files)
    licence = read_licence(reader, files, with_file=False).id
    return Description(
        address(reference),
        reference.repo_id,
        index_url,
        reference.revision,
        commit,
        files,
        tuple(choices),
        licence=licence,
    )


def _of_hub(hub: Hub, reference: Reference) -> Description:
    repo_id, revision = reference.repo_id, reference.revision
    name = f"{repo_id}@{revision}"
    commit = hub.resolve(repo_id, revision)
    info, _next = hub.get(f"api/models/{repo_id}/revision/{quote(revision, safe='')}", name)
    files = tuple(hub.list_files(repo_id, commit))
    choices = every_choice(hub, repo_id, revision, files)
    told = _of_info(
        Description(address(reference), repo_id, hub.index_url, revision, commit, files, tuple(choices)),
        as_dict(info),
    )
    copies = hub.ask(f"copies/{repo_id}?{urlencode({'revision': revision})}")
    if not isinstance(copies, dict):
        return told
    relatives = as_dict(hub.ask(f"lineage/{repo_id}"))
    return replace(
        told,
        copies=_copies(copies),
        parents=_relatives(relatives.get("parents")),
        children=_relatives(relatives.get("children")),
    )


def _of_info(plain: Description, info: Mapping[str, Any]) -> Description:
    """What `GET /api/models/{repo}/revision/{revision}` says, each part only if it is what it should be."""
    card = as_dict(info.get("cardData"))
    weights, gguf = as_dict(info.get("safetensors")), as_dict(info.get("gguf"))
    tags = texts(info.get("tags"))
    licences = texts(card.get("license")) or tuple(
        tag.partition(":")[2] for tag in tags if tag.startswith("license:")
    )
    licence = licences[0] if licences else None
    if licence == "other" and text(card.get("license_name")):
        licence = f"other: {text(card.get('license_name'))}"
    return replace(
        plain,
        licence=licence,
        task=text(info.get("pipeline_tag")),
        library=text(info.get("library_name")),
        languages=texts(card.get("language")),
        tags=tags,
        architecture=text(as_dict(info.get("config")).get("model_type")) or text(gguf.get("architecture")),
        parameter_count=number(weights.get("total")) or number(gguf.get("total")),
        context_length=number(gguf.get("context_length")),
        gated=bool(info.get("gated")),
        private=info.get("private") is True,
        downloads=number(info.get("downloads")),
        likes=number(info.get("likes")),
        modified=text(info.get("lastModified")),
        base_models=texts(card.get("base_model")),
        card=card,
    )


def _copies(found: Mapping[str, Any]) -> Copies:
    blobs, upstream = as_dict(found.get("blobs")), as_dict(found.get("upstream"))
    return Copies(
        is_complete=found.get("is_complete") is True,
        n_blobs=number(blobs.get("total")) or 0,
        n_present=number(blobs.get("present")) or 0,
        n_never_checked=number(blobs.get("never_checked")) or 0,
        stores=texts(found.get("stores")),
        oldest_check=text(found.get("oldest_check")),
        newest_check=text(found.get("newest_check")),
        upstream=text(upstream.get("endpoint")) or text(upstream.get("kind")),
        upstream_repo_id=text(upstream.get("repo_id")),
        upstream_asked_at=text(upstream.get("asked_at")),
        upstream_trouble=text(upstream.get("trouble")) or "",
    )


def _relatives(found: object) -> tuple[Relative, ...]:
    rows = [as_dict(row) for row in found[:MAX_RELATIVES]] if isinstance(found, list) else []
    return tuple(
        Relative(
            row["repo_id"],
            text(row.get("relation")) or "related",
            text(row.get("evidence")) or "",
            row.get("is_held") is True,
        )
        for row in rows
        if is_repo_id(row.get("repo_id"))
    )
