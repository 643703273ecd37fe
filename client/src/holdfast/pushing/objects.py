"""Large files, by Git LFS: which of them the index lacks, and how it wants those (git-lfs `docs/api/batch.md`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.errors import BadAnswer, Refused
from holdfast.network.sending import post_json
from holdfast.network.transport import Transport
from holdfast.network.urls import origin, show_origin
from holdfast.pushing.asking import Hashed
from holdfast.text import printable

MEDIA_TYPE = "application/vnd.git-lfs+json"
OBJECTS_AT_ONCE = 100


@dataclass(frozen=True)
class Store:
    """Where large files of one repo go, and what is needed on the way."""

    transport: Transport
    index_url: str
    repo_id: str
    notes: Path
    retries: int

    @property
    def batch_url(self) -> str:
        return f"{self.index_url}/{self.repo_id}.git/info/lfs/objects/batch"


@dataclass(frozen=True)
class Way:
    """How one object is sent."""

    hashed: Hashed
    upload: Mapping[str, Any]
    verify_url: str | None


def ways_for(store: Store, files: Sequence[Hashed]) -> list[Way]:
    """How to send those that the index does not know yet. Equal bytes are asked about once."""
    by_oid = {one.oid: one for one in files}
    ways: list[Way] = []
    oids = list(by_oid)
    for start in range(0, len(oids), OBJECTS_AT_ONCE):
        some = [by_oid[oid] for oid in oids[start : start + OBJECTS_AT_ONCE]]
        ways += _ask(store, some)
    return ways


def _ask(store: Store, files: Sequence[Hashed]) -> list[Way]:
    objects = [{"oid": one.oid, "size": one.digests.size_bytes} for one in files]
    question = {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "hash_algo": "sha256",
        "objects": objects,
    }
    answer = post_json(
        store.transport, store.batch_url, question, name=store.repo_id, retries=store.retries, kind=MEDIA_TYPE
    )
    try:
        told = {one["oid"]: one for one in answer["objects"]}
        ways = [_way(store, one, told[one.oid]) for one in files]
    except (KeyError, TypeError, AttributeError) as error:
        raise malformed(store, "an object without a way to send it") from error
    return [way for way in ways if way is not None]


def _way(store: Store, hashed: Hashed, told: Any) -> Way | None:
    """None if the index has the bytes."""
    if "error" in told:
        words = printable(str(told["error"].get("message", "")))[:300]
        raise Refused(
            f"{store.repo_id}: {hashed.wanted.file.path}: the index refused: {words}",
            hint="Nothing was changed.",
        )
    actions = told.get("actions") or {}
    if "upload" not in actions:
        return None
    verify = actions.get("verify")
    check_address(store, actions["upload"]["href"])
    return Way(hashed, actions["upload"], None if verify is None else check_address(store, verify["href"]))


def check_address(store: Store, url: Any) -> str:
    """An address for our bytes: never a step down from https."""
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise malformed(store, f"{printable(url)!r:.100} as an address")
    if store.index_url.startswith("https:") and parts.scheme == "http":
        raise malformed(store, f"an address without TLS at {show_origin(origin(url))}")
    return str(url)


def malformed(store: Store, what: str) -> BadAnswer:
    """The batch's answer makes no sense."""
    return BadAnswer(f"{store.batch_url} gave {what}", hint="Nothing was changed.", url=store.batch_url)
