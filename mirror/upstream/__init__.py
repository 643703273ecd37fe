"""Upstreams: what a person calls them, and the client of each kind."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mirror.upstream.base import RemoteCommit, RemoteFile, RemoteRef, UpstreamClient
from mirror.upstream.directory import Directory, default_repo_id
from mirror.upstream.errors import BadUpstreamRef, UpstreamError
from mirror.upstream.huggingface import HuggingFace
from mirror.upstream.pace import Pace

__all__ = [
    "DEFAULT_REVISION", "KINDS", "RemoteCommit", "RemoteFile", "RemoteRef", "UpstreamClient", "UpstreamError",
    "UpstreamRef", "open_upstream", "parse_hub", "parse_upstream_ref",
]  # fmt: skip

HUB_ENDPOINT = "https://huggingface.co"
DEFAULT_REVISION = "main"
_REPO_ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms an upstream is asked: with which token, how fast, and where it may lead us (host:port)."""

    token: str | None = None
    allow: frozenset[str] = frozenset()
    pace: Pace | None = None


def _huggingface(endpoint: str, terms: Terms, repo_type: str) -> UpstreamClient:
    return HuggingFace(
        endpoint, token=terms.token, allow=terms.allow, repo_type=repo_type, pace=terms.pace
    )  # fmt: skip


def _directory(endpoint: str, terms: Terms, repo_type: str) -> UpstreamClient:
    return Directory(endpoint)


KINDS: dict[str, Callable[[str, Terms, str], UpstreamClient]] = {
    "huggingface": _huggingface,
    "directory": _directory,
}


@dataclass(frozen=True, slots=True)
class UpstreamRef:
    """What to mirror: which kind of upstream, where it is, which repo and revision of it."""

    kind: str
    endpoint: str
    repo_id: str
    revision: str = DEFAULT_REVISION
    repo_type: str = "model"

    def __str__(self) -> str:
        """As a person would type it; `parse_upstream_ref` reads it back."""
        kept = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        if self.kind == "directory":
            return f"dir:{self.endpoint}{kept}"
        prefix = "datasets/" if self.repo_type == "dataset" else ""
        start = "hf://" if self.endpoint == HUB_ENDPOINT else f"hf+{self.endpoint}/"
        return f"{start}{prefix}{self.repo_id}{kept}"


def open_upstream(
    kind: str, endpoint: str, *, token: str | None = None, allow: frozenset[str] = frozenset(),
    repo_type: str = "model", pace: Pace | None = None,
) -> UpstreamClient:  # fmt: skip
    """The client of that upstream. `endpoint` is trusted, as is every host:port in `allow`; nothing else is.

    Every request to it takes its turn in `pace`; without one it is sent at once.
    """
    return KINDS[kind](endpoint, Terms(token, allow, pace), repo_type)


def parse_upstream_ref(text: str, *, hub_endpoint: str = HUB_ENDPOINT) -> UpstreamRef:
    """What `hf://org/name@rev`, `hf+http://host:port/org/name@rev` or `dir:/path` means. Raises BadUpstreamRef."""
    if text.startswith("dir:"):
        return _directory_ref(text, text.removeprefix("dir:"))
    if text.startswith("hf://"):
        return _hub_ref(text, hub_endpoint.rstrip("/"), text.removeprefix("hf://"))
    if found := re.fullmatch(r"hf\+(https?://[^/@]+)/(.*)", text):
        return _hub_ref(text, found[1], found[2])
    raise BadUpstreamRef(text, "it starts with none of hf://, hf+http://, hf+https://, dir:")


def parse_hub(text: str, *, hub_endpoint: str = HUB_ENDPOINT) -> str:
    """The endpoint that `hf://` or `hf+http://host:port` names, where no repo is meant. Raises BadUpstreamRef."""
    if text == "hf://":
        return hub_endpoint.rstrip("/")
    if found := re.fullmatch(r"hf\+(https?://[^/@?#\s]+)/?", text):
        return found[1]
    raise BadUpstreamRef(text, "it is not just a hub, hf:// or hf+https://host, without a repo")


def _hub_ref(text: str, endpoint: str, rest: str) -> UpstreamRef:
    name, at, revision = rest.partition("@")
    repo_type = "dataset" if name.startswith("datasets/") else "model"
    repo_id = name.removeprefix("datasets/").strip("/")
    if not _REPO_ID.fullmatch(repo_id):
        raise BadUpstreamRef(text, f"{repo_id!r} is not a repo id like org/name")
    if at and not revision:
        raise BadUpstreamRef(text, "there is no revision after the @")
    return UpstreamRef("huggingface", endpoint, repo_id, revision or DEFAULT_REVISION, repo_type)


def _directory_ref(text: str, path: str) -> UpstreamRef:
    revision = DEFAULT_REVISION
    if "@" in path and not Path(path).expanduser().exists():
        path, _, revision = path.rpartition("@")
    folder = Path(path).expanduser().resolve()
    if not path or not folder.is_dir():
        raise BadUpstreamRef(text, f"{path!r} is not a folder")
    return UpstreamRef("directory", str(folder), default_repo_id(folder), revision)
