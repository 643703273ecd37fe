"""The GGUF models of the cache as images, for `ollama pull` and whatever else speaks OCI's distribution API.

GET /v2/                              the ping
GET /v2/{repo}/tags/list              the variants that are here
GET /v2/{repo}/manifests/{tag|digest}
GET /v2/{repo}/blobs/{digest}

A variant is a tag; `latest` is Q4_K_M, else Q8_0, else the smallest. Media types are those that Ollama reads
(`server/images.go` of its source). Shards of a split model are a layer each, which Ollama cannot load: it is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from holdfast.cache.layout import RepoCache
from holdfast.choosing.variants import Group, gguf_groups
from holdfast.serving.shelf import Held, Missing, Shelf
from holdfast.serving.verified import Verified
from holdfast.serving.views import REPO, View
from holdfast.serving.wire import HASH_WAIT_SECONDS, Question, Refused, Reply

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
CONFIGS = {
    DOCKER: "application/vnd.docker.container.image.v1+json",
    OCI: "application/vnd.oci.image.config.v1+json",
}
MODEL = "application/vnd.ollama.image.model"
PROJECTOR = "application/vnd.ollama.image.projector"
BESIDES = {
    "template": "application/vnd.ollama.image.template",
    "system": "application/vnd.ollama.image.system",
    "params": "application/vnd.ollama.image.params",
    "LICENSE": "application/vnd.ollama.image.license",
}
PREFERRED = ("Q4_K_M", "Q8_0")
TITLE = "org.opencontainers.image.title"
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class _Image:
    group: Group
    layers: list[dict[str, Any]]

    @property
    def config(self) -> bytes:
        """What Ollama shows of a model before it loads it."""
        return _compact({
            "model_format": "gguf", "model_family": "unknown", "model_families": ["unknown"], "model_type": "unknown",
            "file_type": self.group.variant, "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in self.layers]},
        })  # fmt: skip

    def manifest(self, media_type: str) -> bytes:
        config = _descriptor(CONFIGS[media_type], _digest(self.config), len(self.config))
        return _compact(
            {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": self.layers}
        )


def ping(question: Question, shelf: Shelf, verified: Verified) -> Reply:
    """200: nobody needs a token to read here."""
    return Reply(b"{}", {"Content-Type": "application/json", **_VERSION})


def list_tags(question: Question, shelf: Shelf, verified: Verified, *, repo: str) -> Reply:
    """The variants of `main`."""
    held = _held(shelf, repo)
    tags = sorted({group.variant for group in gguf_groups([one.file for one in held])})
    return Reply(_compact({"name": repo, "tags": tags}), {"Content-Type": "application/json", **_VERSION})


def show_manifest(
    question: Question, shelf: Shelf, verified: Verified, *, repo: str, reference: str
) -> Reply:
    """The manifest of a variant, in the form that the client accepts."""
    held = _held(shelf, repo)
    media_type = OCI if OCI in question.headers.get("Accept", "") else DOCKER
    if _DIGEST.match(reference):
        media_type, body = _manifest_by_digest(held, verified, repo, reference)
    else:
        group = _choose(gguf_groups([one.file for one in held]), reference, repo)
        if len(group.files) > 1 and question.headers.get("User-Agent", "").startswith("ollama"):
            raise Refused(400, f"{repo}:{group.variant} has {len(group.files)} files; Ollama loads one")
        body = _image(group, held, verified).manifest(media_type)
    headers = {"Content-Type": media_type, "Docker-Content-Digest": _digest(body), **_VERSION}
    return Reply(body, {**headers, "ETag": f'"{_digest(body)}"'})


def send_blob(question: Question, shelf: Shelf, verified: Verified, *, repo: str, digest: str) -> Reply:
    """The bytes under a digest: a file of `main`, or a config that describes one."""
    headers = {"Docker-Content-Digest": digest, **_VERSION, "Location": f"{question.base_url}{question.path}"}
    held = _held(shelf, repo)
    for one in held:
        if f"sha256:{one.file.sha256}" == digest:
            return Reply(one, headers)
    for one in held:
        if one.file.sha256 is None and f"sha256:{_sha256(one, verified)}" == digest:
            return Reply(one, headers)
    for group in gguf_groups([one.file for one in held]):
        config = _image(group, held, verified).config
        if _digest(config) == digest:
            return Reply(config, {"Content-Type": "application/octet-stream", **headers})
    raise Missing("EntryNotFound", f"{repo} has no blob {digest!r:.80} here")


ROUTES: list[tuple[re.Pattern[str], View]] = [
    (re.compile(pattern), view)
    for pattern, view in (
        (r"/v2/?", ping),
        (rf"/v2/{REPO}/tags/list", list_tags),
        (rf"/v2/{REPO}/manifests/(?P<reference>[^/]+)", show_manifest),
        (rf"/v2/{REPO}/blobs/(?P<digest>[^/]+)", send_blob),
    )
]


def _held(shelf: Shelf, repo: str) -> list[Held]:
    """The files of `main`. Ollama writes names in any case, so a repo is found whatever the case of its letters."""
    named = next((name for name in shelf.repo_ids() if name.casefold() == repo.casefold()), repo)
    newest = shelf.newest(named)
    cached: tuple[RepoCache, str] | None = None if newest is None else (newest.repo, newest.commit)
    return [] if cached is None else shelf.held_files(*cached)


def _choose(groups: list[Group], tag: str, repo: str) -> Group:
    names = [group.variant for group in groups]
    if tag.casefold() == "latest" and groups:
        wanted = next((name for name in PREFERRED if name in names), groups[0].variant)
        return groups[names.index(wanted)]
    found = next((group for group in groups if group.answers_to(tag)), None)
    if found is None:
        raise Missing(
            "RevisionNotFound", f"{repo} has no variant {tag!r:.80} here, but: {', '.join(names) or 'none'}"
        )
    return found


def _image(group: Group, held: list[Held], verified: Verified) -> _Image:
    by_path = {one.file.path: one for one in held}
    layers = [_layer(MODEL, by_path[file.path], verified) for file in group.files]
    projector = next(
        (one for one in held if one.file.path.endswith(".gguf") and "mmproj" in one.file.path.lower()), None
    )
    if projector is not None:
        layers.append(_layer(PROJECTOR, projector, verified))
    return _Image(
        group,
        layers + [_layer(BESIDES[name], by_path[name], verified) for name in BESIDES if name in by_path],
    )


def _manifest_by_digest(held: list[Held], verified: Verified, repo: str, digest: str) -> tuple[str, bytes]:
    for group in gguf_groups([one.file for one in held]):
        image = _image(group, held, verified)
        for media_type in CONFIGS:
            body = image.manifest(media_type)
            if _digest(body) == digest:
                return media_type, body
    raise Missing("RevisionNotFound", f"{repo} has no manifest {digest} here")


def _layer(media_type: str, held: Held, verified: Verified) -> dict[str, Any]:
    layer = _descriptor(media_type, f"sha256:{_sha256(held, verified)}", held.file.size_bytes)
    return {**layer, "annotations": {TITLE: held.file.path.rpartition("/")[2]}}


def _sha256(held: Held, verified: Verified) -> str:
    if held.file.sha256 is not None:
        return held.file.sha256
    verdict, digests = verified.verdict(held, held.local.stat(), wait_seconds=HASH_WAIT_SECONDS)
    if verdict != "good" or digests is None:
        raise Refused(503, f"{held.file.path!r:.200} is {verdict}; ask again", Retry_After="2")
    return digests.sha256


def _descriptor(media_type: str, digest: str, size_bytes: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size_bytes}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _compact(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
