"""Models in a registry of container images (OCI Distribution 1.1), as Ollama and others keep them: `/v2/`.

| ours     | theirs                                                                                                |
|----------|-------------------------------------------------------------------------------------------------------|
| repo     | the image's repository, `org/name`                                                                    |
| revision | the tag                                                                                               |
| commit   | the first 40 hex digits of the manifest's sha256                                                      |
| file     | a layer: its sha256 and size are in the manifest, its name in `org.opencontainers.image.title`        |

Layers of Ollama's have no title and are named by what they are: `model.gguf`, `mmproj.gguf`, `template`, `params`,
`system`, `LICENSE`. Layers stay as they are: an archive is a file. The manifest must have the digest that its answer
says, the layers have theirs checked while they arrive, as every file has.

Who is asked for a token (401 with `WWW-Authenticate: Bearer`) asks for one for everybody where it says; one of ours
goes to the registry that it is for and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial as bind
from typing import Any, Callable, Optional
from urllib.parse import urlencode, urlsplit

from holdfast.asking.told import as_dict
from holdfast.errors import AuthFailed, BadAnswer, HashMismatch, NotFound
from holdfast.network.patience import with_patience
from holdfast.network.transport import Answer, Transport
from holdfast.paths import check_path
from holdfast.sources.hub import MAX_FILE_BYTES, refusal_of
from holdfast.sources.remote import RemoteFile, VariantAnswer
from holdfast.sources.source import OpenRange
from holdfast.text import printable

MAX_MANIFEST_BYTES = 4 << 20  # what the specification asks registries to take
MAX_LAYERS = 10_000
ACCEPTED = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
TITLE = "org.opencontainers.image.title"
_NAMES = {"model": "model.gguf", "projector": "mmproj.gguf", "adapter": "adapter.gguf", "license": "LICENSE"}
_OLLAMA = re.compile(r"^application/vnd\.ollama\.image\.([a-z]+)\Z")
_DIGEST = re.compile(r"^sha256:([0-9a-f]{64})\Z")
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')

Connect = Callable[[str, Optional[str]], Transport]


class OciSource:
    """One registry. Keeps the manifests that it has seen, and a token while that is good."""

    def __init__(self, index_url: str, base_url: str, connect: Connect, *, retries: int) -> None:
        """`connect(url, token)` makes a transport; without a token of its own for this place it uses the given one."""
        self.index_url = index_url
        self._base_url = base_url
        self._connect = connect
        self._retries = retries
        self._transport = connect(base_url, None)
        self._files: dict[tuple[str, str], list[RemoteFile]] = {}
        self._lock = threading.Lock()

    def resolve(self, repo_id: str, revision: str) -> str:
        """The commit of a tag. Raises NotFound, HashMismatch, BadAnswer."""
        name = f"{repo_id}:{revision}"
        url = f"{self._base_url}/v2/{repo_id}/manifests/{revision}"
        body, told = with_patience(self._retries, lambda: self._read(url, name))
        digest = hashlib.sha256(body).hexdigest()
        if told and told != f"sha256:{digest}":
            raise HashMismatch(
                f"manifest mismatch: {name}: its registry says {printable(told)}, got sha256:{digest}",
                hint="Run it again; if it repeats, a proxy changes answers.",
                expected=told,
                actual=digest,
            )
        self._files[repo_id, digest[:40]] = files_of(body, name)
        return digest[:40]

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """The layers of a manifest that was resolved before: no registry finds one by the beginning of its digest."""
        if (repo_id, commit) not in self._files:
            raise NotFound(
                f"no such commit: {repo_id}@{commit[:12]} at {printable(self.index_url)}",
                hint="Registries of images know tags: leave the commit out, or name a tag after the colon.",
                repo_id=repo_id,
            )
        return self._files[repo_id, commit]

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer:
        """Nothing: the tag says it all, and no other repository is meant."""
        return VariantAnswer(None, None, {}, ())

    @contextmanager
    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> Iterator[Answer]:
        """Bytes [start, end) of a layer."""
        file = next((one for one in self.list_files(repo_id, commit) if one.path == path), None)
        if file is None:
            raise NotFound(f"no such file: {printable(path)} in {repo_id}@{commit[:12]}")
        headers = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        url = f"{self._base_url}/v2/{repo_id}/blobs/sha256:{file.sha256}"
        with self._opened(url, headers, f"{repo_id}//{path}") as answer:
            yield answer

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        """The same bytes, if they are a layer of this very manifest."""
        same = [one for one in self._files.get((repo_id or "", commit), []) if one.sha256 == file.sha256]
        return bind(self.open_file, repo_id or "", commit, same[0].path) if same and file.sha256 else None

    def _read(self, url: str, name: str) -> tuple[bytes, str]:
        with self._opened(url, {"Accept": ACCEPTED}, name) as answer:
            return answer.read_all(MAX_MANIFEST_BYTES), answer.headers.get("Docker-Content-Digest", "")

    @contextmanager
    def _opened(self, url: str, headers: Mapping[str, str], name: str) -> Iterator[Answer]:
        """The answer, with a new token if the registry wants one. Raises what a refusal means."""
        used = self._transport
        with used.open(url, headers) as answer:
            if answer.status in (200, 206):
                yield answer
                return
            challenge = answer.headers.get("WWW-Authenticate", "") if answer.status == 401 else ""
            if not challenge.lower().startswith("bearer "):
                raise refusal_of(answer, name)
        self._ask_for_token(challenge, used)
        with self._transport.open(url, headers) as answer:
            if answer.status not in (200, 206):
                raise refusal_of(answer, name)
            yield answer

    def _ask_for_token(self, challenge: str, used: Transport) -> None:
        with self._lock:
            if self._transport is not used:
                return  # another thread has asked meanwhile
            parts = dict(_CHALLENGE.findall(challenge))
            realm = parts.pop("realm", "")
            if urlsplit(realm).scheme != urlsplit(self._base_url).scheme:
                raise AuthFailed(
                    f"{printable(self.index_url)} wants a token of {printable(realm) or 'nobody'}, which is not asked",
                    hint="A registry on https names an https address for its tokens.",
                )
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(parts)}"
            with self._connect(realm, None).open(url) as answer:
                if answer.status != 200:
                    raise refusal_of(answer, self.index_url)
                found = as_dict(_json(answer.read_all(MAX_MANIFEST_BYTES), realm))
            token = found.get("token") or found.get("access_token")
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise BadAnswer(f"{printable(realm)} gave no token", url=realm)
            self._transport = self._connect(self._base_url, token)


def _json(body: bytes, where: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"{printable(where)} did not answer with JSON", url=where) from error


def files_of(manifest: bytes, name: str) -> list[RemoteFile]:
    """Every layer of a manifest, sorted by path. Raises BadAnswer, UnsafePath."""
    found = as_dict(_json(manifest, name))
    layers = found.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise BadAnswer(
            f"the manifest of {name} is not that of one model",
            hint="It may be a list of images for several machines, which models are not.",
        )
    files: dict[str, RemoteFile] = {}
    for layer in map(as_dict, layers):
        file = _file(layer, name, taken=files)
        files[file.path] = file
    return sorted(files.values(), key=lambda file: file.path)


def _file(layer: Mapping[str, Any], name: str, *, taken: Mapping[str, RemoteFile]) -> RemoteFile:
    digest, size = _DIGEST.match(str(layer.get("digest"))), layer.get("size")
    if digest is None or type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
        raise BadAnswer(f"a layer of {name} has no sha256 or no size")
    kind = _OLLAMA.match(str(layer.get("mediaType")))
    title = as_dict(layer.get("annotations")).get(TITLE)
    path = title if isinstance(title, str) else _NAMES.get(kind.group(1), kind.group(1)) if kind else ""
    path = check_path(path or f"{digest.group(1)[:12]}.layer", listed_by=name)
    if path in taken and taken[path].sha256 != digest.group(1):
        if title is not None:
            raise BadAnswer(f"{printable(path)} comes twice in the manifest of {name}")
        path = _numbered(path, taken)
    return RemoteFile(path, size, None, digest.group(1))


def _numbered(path: str, taken: Mapping[str, RemoteFile]) -> str:
    """`LICENSE-2`, `model-2.gguf`: Ollama's images may have several of a kind."""
    stem, dot, ending = path.partition(".")
    return next(
        f"{stem}-{n}{dot}{ending}" for n in range(2, MAX_LAYERS) if f"{stem}-{n}{dot}{ending}" not in taken
    )
