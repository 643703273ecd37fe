"""The endpoints below `/v2/`.

GET /v2/                                    the ping: says that this is a registry, or where to get a token
GET /v2/{org}/{name}/tags/list              the variants that are one image each
GET /v2/{org}/{name}/manifests/{tag|digest}
GET /v2/{org}/{name}/blobs/{digest}         a file of a commit, or a generated config

A repo is found whatever the case of its letters: references to images are often made of small letters only.
"""

import re
from urllib.parse import urlsplit

from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from mirror.hub.asking import sent_path
from mirror.hub.delivery import send_file
from mirror.hub.doors import door
from mirror.hub.errors import HubError
from mirror.hub.finding import Place, check_may_read, find_called, find_commit
from mirror.oci.errors import in_oci_words
from mirror.oci.images import DOCKER_MANIFEST, OCI_MANIFEST, Image, Json, digest_of, find_image, images_of
from mirror.oci.tokens import reader_of
from registry.access import Somebody, readable_repos
from registry.git import lfs_pointer
from registry.models import Artifact, File, Ref, Repo
from registry.revisions import DEFAULT

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
MANIFEST_SECONDS = 60


@door("GET", who=reader_of)
@in_oci_words
def ping(request: HttpRequest, user: Somebody) -> HttpResponse:
    """401 with the way to a token, as all that speak OCI expect first; 200 for who brings one."""
    if not request.headers.get("Authorization"):
        raise HubError(
            401, "Ask /v2/token for a token; without a password it reads what is public.", **VERSION
        )
    return JsonResponse({}, headers=VERSION)


@door("GET", who=reader_of)
@in_oci_words
def list_tags(request: HttpRequest, user: Somebody, *, namespace: str, name: str) -> HttpResponse:
    """The variants of `main` that are GGUF models, by name."""
    repo = find_called(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    tags = sorted(image.variant.name for image in _images(repo))
    return JsonResponse({"name": f"{namespace}/{name}", "tags": tags}, headers=VERSION)


@door("GET", who=reader_of)
@in_oci_words
def show_manifest(
    request: HttpRequest, user: Somebody, *, namespace: str, name: str, reference: str
) -> HttpResponse:
    """The manifest of a tag or digest, in the form that the client accepts."""
    repo = find_called(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    check_may_read(user, repo)
    media_type, body = _manifest(request, repo, reference)
    headers = VERSION | {
        "Docker-Content-Digest": digest_of(body),
        "ETag": f'"{digest_of(body)}"',
        "Content-Length": str(len(body)),
        "Cache-Control": f"{'private' if repo.private or repo.gated else 'public'}, max-age={MANIFEST_SECONDS}",
        "Vary": "Accept, User-Agent, Authorization",
    }
    return HttpResponse(body, content_type=media_type, headers=headers)


@door("GET", who=reader_of)
@in_oci_words
def send_blob(
    request: HttpRequest, user: Somebody, *, namespace: str, name: str, digest: str
) -> HttpResponseBase:
    """The bytes under a digest. Ollama wants to be sent on, or a `Location` that says: here."""
    repo = find_called(request, user, Repo.Type.MODEL, f"{namespace}/{name}")
    check_may_read(user, repo)
    if (found := _DIGEST.fullmatch(digest)) is None:
        raise HubError(400, f"{digest:.80} is not a digest like sha256:<64 hex digits>.")
    file = _find_file(user, repo, found[1])
    response = _send(request, file, repo) if file else _send_generated(request, repo, digest)
    for header, value in (VERSION | {"Docker-Content-Digest": digest}).items():
        response[header] = value
    return response


def _images(repo: Repo, revision: str = DEFAULT) -> list[Image]:
    return images_of(repo, find_commit(repo, revision))


# --- manifests ---------------------------------------------------------------------------------------------------


def _manifest(request: HttpRequest, repo: Repo, reference: str) -> tuple[str, bytes]:
    if _DIGEST.fullmatch(reference):
        return _manifest_by_digest(repo, reference)
    image = _image_of_tag(repo, reference)
    agent = request.headers.get("User-Agent", "").lower()
    if image.is_split and agent.startswith("ollama"):
        message = (
            f"{repo.repo_id}:{image.variant.name} has {len(image.variant.files)} files; Ollama loads one."
        )
        raise HubError(400, f"{message} Choose another variant, or merge it with llama-gguf-split.")
    media_type = _accepted(request)
    more = _for_llama_cpp(image) if agent.startswith("llama-cpp") else {}
    return media_type, image.manifest(media_type, **more)


def _image_of_tag(repo: Repo, tag: str) -> Image:
    """The variant of that name at `main`; else what `latest` means at the branch or tag of that name."""
    images = _images(repo)
    if image := find_image(images, tag):
        return image
    if Ref.objects.filter(repo=repo, name=tag).exists() and (
        image := find_image(_images(repo, tag), "latest")
    ):
        return image
    there = ", ".join(sorted(image.variant.name for image in images)) or "no GGUF model"
    raise HubError(
        404, f"{repo.repo_id} has no variant {tag!r:.80}. There is: {there}.", code="RevisionNotFound"
    )


def _manifest_by_digest(repo: Repo, digest: str) -> tuple[str, bytes]:
    for image in _all_images(repo):
        for media_type in (DOCKER_MANIFEST, OCI_MANIFEST):
            if digest_of(body := image.manifest(media_type)) == digest:
                return media_type, body
    raise HubError(404, f"{repo.repo_id} has no manifest {digest}.", code="RevisionNotFound")


def _all_images(repo: Repo) -> list[Image]:
    """Those of `main` and of every other branch and tag. For lookups by digest only."""
    commits = {
        ref.commit_id: ref.commit for ref in Ref.objects.filter(repo=repo).select_related("commit__repo")
    }
    return [image for commit in commits.values() for image in images_of(repo, commit)]


def _accepted(request: HttpRequest) -> str:
    """OCI's form for those that know it: tools refuse layers of no known type in Docker's, the only one of Ollama."""
    return OCI_MANIFEST if OCI_MANIFEST in request.headers.get("Accept", "") else DOCKER_MANIFEST


def _for_llama_cpp(image: Image) -> Json:
    """What builds of llama.cpp before March 2026 read: the files by name, as /resolve serves them."""
    found = {"ggufFile": image.variant.files[0]} | (
        {"mmprojFile": image.projector} if image.projector else {}
    )
    return {key: _gguf_file(file) for key, file in found.items()}


def _gguf_file(file: File) -> Json:
    size = file.size_bytes
    lfs = {"sha256": file.sha256, "size": size, "pointerSize": len(lfs_pointer(file.sha256 or "", size))}
    return {"rfilename": file.path, "blobId": f"sha256:{file.sha256}", "size": size, "lfs": lfs}


# --- blobs -------------------------------------------------------------------------------------------------------


def _find_file(user: Somebody, repo: Repo, sha256: str) -> File | None:
    """A file with these bytes in the repo, or in one where artifacts of it are published. Two queries at most."""
    made = Artifact.objects.filter(source__repo=repo, state=Artifact.State.PUBLISHED)
    homes = readable_repos(user).filter(Q(pk=repo.pk) | Q(pk__in=made.values("published_in__repo")))
    files = (
        File.objects.filter(commit__repo__in=homes.values("pk"))
        .select_related("blob", "commit__repo")
        .order_by("-pk")
    )
    return files.filter(blob__sha256=sha256).first() or files.filter(lfs_sha256=sha256).first()


def _send(request: HttpRequest, file: File, repo: Repo) -> HttpResponseBase:
    commit = file.commit
    place = Place(commit.repo, commit.commit_hash, commit, file.path)
    response = send_file(request, place, file)
    if response.status_code == 302 and _is_same_host(request, response["Location"]):
        response = send_file(request, place, file, inline=True)
    if response.status_code == 302:
        response.status_code = 307
    elif response.status_code in (200, 206):
        response["Location"] = request.build_absolute_uri(sent_path(request) or request.path)
    return response


def _is_same_host(request: HttpRequest, url: str) -> bool:
    """Ollama takes a URL on the same host name, whatever the port, for another registry's page, not for the bytes."""
    return urlsplit(url).hostname == urlsplit(request.build_absolute_uri("/")).hostname


def _send_generated(request: HttpRequest, repo: Repo, digest: str) -> HttpResponse:
    for image in _all_images(repo):
        if digest_of(image.config) == digest:
            here = request.build_absolute_uri(sent_path(request) or request.path)
            headers = {"Location": here, "Content-Length": str(len(image.config)), "ETag": f'"{digest[7:]}"'}
            return HttpResponse(image.config, content_type="application/json", headers=headers)
    raise HubError(404, f"{repo.repo_id} has no blob {digest}.", code="EntryNotFound")
