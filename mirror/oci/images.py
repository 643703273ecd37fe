"""From a variant to an image: layers, config and manifest, the same bytes every time.

Media types are those that Ollama reads (`server/images.go` and `types/model` of its source); every layer also carries
the file's name as `org.opencontainers.image.title`, by which `oras pull` names what it writes.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from registry.models import Commit, File, Header, Repo
from registry.variants import Variant, find_variant, main_file, variants_of

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
MODEL = "application/vnd.ollama.image.model"
PROJECTOR = "application/vnd.ollama.image.projector"
TITLE = "org.opencontainers.image.title"
# Files of a repo that say how Ollama should run its models; a template in the GGUF itself needs none.
BESIDES = {
    "template": "application/vnd.ollama.image.template",
    "system": "application/vnd.ollama.image.system",
    "params": "application/vnd.ollama.image.params",
    "LICENSE": "application/vnd.ollama.image.license",
}
PREFERRED = ("Q4_K_M", "Q8_0")
LATEST = "latest"

Json = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """What a tag names."""

    variant: Variant
    config: bytes
    layers: list[Json]
    projector: File | None = None

    @property
    def is_split(self) -> bool:
        return len(self.variant.files) > 1

    def manifest(self, media_type: str = DOCKER_MANIFEST, **more: Json) -> bytes:
        """The manifest in the words of Docker or of OCI; `more` are keys that one client wants besides."""
        config_type = DOCKER_CONFIG if media_type == DOCKER_MANIFEST else OCI_CONFIG
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": media_type,
                "config": _descriptor(config_type, digest_of(self.config), len(self.config)),
                "layers": self.layers,
            }
            | more
        )


def images_of(repo: Repo, commit: Commit) -> list[Image]:
    """One image for each GGUF model that `repo:variant` may mean at this commit. Eight queries, whatever the number."""
    models = [variant for variant in variants_of(repo, commit) if variant.path.endswith(".gguf")]
    headers = _headers(models)
    besides = _files_besides(models)
    return [
        _image(variant, headers.get(main_file(variant).blob_id), besides[variant.commit_hash])
        for variant in models
    ]


def find_image(images: list[Image], tag: str) -> Image | None:
    """The image that a tag names: a quantization type, the name of a file, or `latest`; the case does not matter."""
    if tag.lower() == LATEST:
        return _latest(images)
    by_name = find_variant((image.variant for image in images), tag)
    stem = tag.lower().removesuffix(".gguf")
    for image in images:
        if image.variant == by_name or PurePosixPath(image.variant.path).stem.lower() == stem:
            return image
    return None


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _latest(images: list[Image]) -> Image | None:
    """What one takes who did not choose: a type that suits most machines, among those that the gate lets pass."""
    passed = [image for image in images if image.variant.trust["pulled_by_default"]] or images
    whole = [image for image in passed if not image.is_split] or passed
    for name in PREFERRED:
        for image in whole:
            if image.variant.name == name:
                return image
    return whole[0] if whole else None


def _image(variant: Variant, header: Header | None, besides: list[tuple[str, File]]) -> Image:
    layers = [_layer(MODEL, file) for file in variant.files]
    layers += [_layer(media_type, file) for media_type, file in besides if file.sha256]
    projector = next((file for media_type, file in besides if media_type == PROJECTOR), None)
    return Image(variant, _config(variant, header, layers), layers, projector)


def _config(variant: Variant, header: Header | None, layers: list[Json]) -> bytes:
    """What Ollama shows of a model before it loads it."""
    said = header.metadata if header else {}
    family = said.get("general.architecture")
    family = family if isinstance(family, str) else "unknown"
    return _json(
        {
            "model_format": "gguf",
            "model_family": family,
            "model_families": [family],
            "model_type": _size_label(header.parameter_count if header else 0),
            "file_type": variant.name,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )


def _size_label(n_parameters: int) -> str:
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if n_parameters >= size:
            return f"{n_parameters / size:.1f}".removesuffix(".0") + unit
    return str(n_parameters) if n_parameters else "unknown"


def _headers(models: list[Variant]) -> dict[int | None, Header]:
    blobs = {main_file(variant).blob_id for variant in models}
    rows = Header.objects.filter(blob__in=[blob for blob in blobs if blob], error_code="")
    return {row.blob_id: row for row in rows}


def _files_besides(models: list[Variant]) -> dict[str, list[tuple[str, File]]]:
    """{commit hash: (media type, file) of what goes with its models}: projector, template, licence. One query."""
    commits = {main_file(variant).commit_id for variant in models}
    found: dict[str, list[tuple[str, File]]] = {variant.commit_hash: [] for variant in models}
    files = (
        File.objects.filter(commit__in=commits).exclude(path__contains="/").select_related("blob", "commit")
    )
    for file in files.order_by("path"):
        if media_type := _kind_besides(file.path):
            found[file.commit.commit_hash].append((media_type, file))
    return {commit: _one_of_each(chosen) for commit, chosen in found.items()}


def _kind_besides(path: str) -> str | None:
    if path.endswith(".gguf"):
        return PROJECTOR if "mmproj" in path.lower() else None
    return BESIDES.get(path)


def _one_of_each(chosen: list[tuple[str, File]]) -> list[tuple[str, File]]:
    return list({media_type: (media_type, file) for media_type, file in reversed(chosen)}.values())[::-1]


def _layer(media_type: str, file: File) -> Json:
    layer = _descriptor(media_type, f"sha256:{file.sha256}", file.size_bytes)
    return layer | {"annotations": {TITLE: PurePosixPath(file.path).name}}


def _descriptor(media_type: str, digest: str, size_bytes: int) -> Json:
    return {"mediaType": media_type, "digest": digest, "size": size_bytes}


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
