"""`/v2/`: what Ollama, OCI clients and old llama.cpp builds ask, and what they are told."""

import base64
import hashlib
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import AccessToken, Artifact, Blob, Commit, Header, Organisation, Recipe, Repo
from tests.checkpoints import record_commit, record_tag

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
SMALL, LARGE = b"GGUF" * 100, b"GGUF" * 300


@pytest.fixture(autouse=True)
def _inline(settings: Any) -> None:
    settings.HOLDFAST_BLOB_DELIVERY = "inline"


@pytest.fixture
def models(db: None) -> Commit:
    commit = record_commit(
        "acme/GGUF",
        {
            "tiny-Q4_K_M.gguf": SMALL, "tiny-Q8_0.gguf": LARGE, "big-BF16-00001-of-00002.gguf": b"GGUF1",
            "big-BF16-00002-of-00002.gguf": b"GGUF2", "mmproj-F16.gguf": b"GGUFp", "template": b"{{ .Prompt }}",
            "README.md": b"#",
        },
    )  # fmt: skip
    blob = Blob.objects.get(sha256=hashlib.sha256(SMALL).hexdigest())
    Header.objects.create(
        blob=blob, format="gguf", n_tensors=2, parameter_count=2_300_000,
        metadata={"general.architecture": "llama"},
    )  # fmt: skip
    return commit


def manifest(client: Client, reference: str, repo: str = "acme/GGUF", **headers: str) -> Any:
    return client.get(f"/v2/{repo}/manifests/{reference}", headers={"Accept": DOCKER} | headers)


def blob_of(client: Client, digest: str, **headers: str) -> Any:
    return client.get(f"/v2/acme/GGUF/blobs/{digest}", headers=headers)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_tag_is_a_quantization_type_and_its_layer_the_file_itself(client: Client, models: Commit) -> None:
    response = manifest(client, "Q4_K_M")
    said = response.json()
    assert response["Content-Type"] == said["mediaType"] == DOCKER
    assert response["Docker-Content-Digest"] == digest_of(response.content)
    layers = {layer["mediaType"].rpartition(".")[2]: layer for layer in said["layers"]}
    assert layers["model"]["digest"] == digest_of(SMALL)
    assert layers["model"]["size"] == len(SMALL)
    assert layers["model"]["annotations"] == {"org.opencontainers.image.title": "tiny-Q4_K_M.gguf"}
    assert layers["projector"]["digest"] == digest_of(b"GGUFp")
    assert layers["template"]["digest"] == digest_of(b"{{ .Prompt }}")


def test_the_config_tells_ollama_what_the_model_is(client: Client, models: Commit) -> None:
    descriptor = manifest(client, "Q4_K_M").json()["config"]
    response = blob_of(client, descriptor["digest"])
    assert digest_of(response.content) == descriptor["digest"]
    assert len(response.content) == descriptor["size"]
    said = response.json()
    assert (said["model_format"], said["model_family"], said["model_type"]) == ("gguf", "llama", "2.3M")
    assert said["file_type"] == "Q4_K_M"


def test_the_manifest_is_the_same_under_its_digest_for_ever(client: Client, models: Commit) -> None:
    first = manifest(client, "Q8_0")
    again = manifest(client, first["Docker-Content-Digest"])
    assert again.content == first.content
    oci = client.get("/v2/acme/GGUF/manifests/Q8_0", headers={"Accept": OCI})
    assert oci["Content-Type"] == oci.json()["mediaType"] == OCI
    by_digest = client.get(f"/v2/acme/GGUF/manifests/{oci['Docker-Content-Digest']}", headers={"Accept": OCI})
    assert by_digest.content == oci.content


@pytest.mark.parametrize("tag", ["latest", "q4_k_m", "tiny-Q4_K_M", "tiny-q4_k_m.gguf", "v1.0"])
def test_other_names_of_the_same_model(client: Client, models: Commit, tag: str) -> None:
    record_tag(models, "v1.0")
    assert manifest(client, tag).content == manifest(client, "Q4_K_M").content


def test_names_compare_without_case_and_without_a_redirect(client: Client, models: Commit) -> None:
    assert manifest(client, "q8_0", repo="Acme/gguf").status_code == 200


def test_tags_are_listed(client: Client, models: Commit) -> None:
    said = client.get("/v2/acme/GGUF/tags/list").json()
    assert said == {"name": "acme/GGUF", "tags": ["BF16", "Q4_K_M", "Q8_0"]}


def test_an_unknown_tag_says_which_there_are(client: Client, models: Commit) -> None:
    response = manifest(client, "Q2_K")
    assert response.status_code == 404
    said = response.json()
    assert said["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    assert "Q4_K_M, Q8_0" in said["error"]


def test_split_models_have_a_layer_a_file_and_ollama_is_told_that_it_cannot(
    client: Client, models: Commit
) -> None:
    layers = manifest(client, "BF16").json()["layers"]
    assert [layer["digest"] for layer in layers[:2]] == [digest_of(b"GGUF1"), digest_of(b"GGUF2")]
    refused = client.get("/v2/acme/GGUF/manifests/BF16", headers={"User-Agent": "ollama/0.12 (amd64 linux)"})
    assert refused.status_code == 400
    assert "2 files" in refused.json()["error"]


def test_a_blob_comes_from_where_it_was_asked_for_in_ranges(client: Client, models: Commit) -> None:
    digest = digest_of(LARGE)
    head = client.head(f"/v2/acme/GGUF/blobs/{digest}")
    assert (head.status_code, head["Content-Length"]) == (200, str(len(LARGE)))
    assert head["Docker-Content-Digest"] == digest
    response = blob_of(client, digest)
    assert response.getvalue() == LARGE
    assert response["Location"] == f"http://testserver/v2/acme/GGUF/blobs/{digest}"
    part = blob_of(client, digest, Range="bytes=4-11")
    assert (part.status_code, part.getvalue()) == (206, LARGE[4:12])


def test_bytes_of_another_repo_are_not_given_under_this_name(
    client: Client, models: Commit, organisation: Organisation
) -> None:
    record_commit("acme/secret", {"x.gguf": b"secret"}, private=True, organisation=organisation)
    for digest in (digest_of(b"secret"), digest_of(b"nobody has this")):
        response = blob_of(client, digest)
        assert response.status_code == 404
        assert response.json()["errors"][0]["code"] == "BLOB_UNKNOWN"


@pytest.mark.parametrize("closed", [{"private": True}, {"gated": "manual"}])
def test_what_was_made_of_a_checkpoint_is_a_tag_of_it(client: Client, db: None, closed: Any) -> None:
    source = record_commit("acme/tiny", {"model.safetensors": b"weights"})
    home = record_commit("acme/tiny-GGUF", {"tiny-Q8_0.gguf": LARGE})
    blob = Blob.objects.get(sha256=hashlib.sha256(LARGE).hexdigest())
    recipe = Recipe.objects.create(name="Q8_0", format="gguf", digest="ab" * 32, content={})
    Artifact.objects.create(
        source=source, recipe=recipe, blob=blob, path="tiny-Q8_0.gguf", state="published", published_in=home
    )
    assert manifest(client, "latest", repo="acme/tiny").json()["layers"][0]["digest"] == digest_of(LARGE)
    response = client.get(f"/v2/acme/tiny/blobs/{digest_of(LARGE)}")
    assert response.getvalue() == LARGE
    Repo.objects.filter(pk=home.repo_id).update(**closed)
    assert client.get(f"/v2/acme/tiny/blobs/{digest_of(LARGE)}").status_code == 404


def test_old_builds_of_llama_cpp_find_the_file_by_name(client: Client, models: Commit) -> None:
    said = client.get("/v2/acme/GGUF/manifests/Q8_0", headers={"User-Agent": "llama-cpp/b5000"}).json()
    assert said["ggufFile"]["rfilename"] == "tiny-Q8_0.gguf"
    assert said["ggufFile"]["blobId"] == digest_of(LARGE)
    assert said["mmprojFile"]["rfilename"] == "mmproj-F16.gguf"
    assert "ggufFile" not in manifest(client, "Q8_0").json()


def test_a_private_repo_opens_with_the_token_of_a_member(
    client: Client, alice: User, charlie: User, organisation: Organisation
) -> None:
    record_commit("acme/secret", {"x-Q8_0.gguf": b"secret"}, private=True, organisation=organisation)
    refused = manifest(client, "Q8_0", repo="acme/secret")
    assert refused.status_code == 401
    assert refused["WWW-Authenticate"] == 'Bearer realm="http://testserver/v2/token",service="testserver"'
    ping = client.get("/v2/")
    assert (ping.status_code, ping["WWW-Authenticate"]) == (401, refused["WWW-Authenticate"])
    assert manifest(client, "Q8_0", "acme/secret", Authorization=bearer(client, alice)).status_code == 200
    assert client.get("/v2/", headers={"Authorization": bearer(client, alice)}).status_code == 200
    assert manifest(client, "Q8_0", "acme/secret", Authorization=bearer(client, charlie)).status_code == 404
    assert manifest(client, "Q8_0", "acme/secret", Authorization=bearer(client, None)).status_code == 401
    assert manifest(client, "Q8_0", "acme/secret", Authorization="Bearer oci.forged").status_code == 401


def bearer(client: Client, user: User | None) -> str:
    """What an OCI client sends after it was sent to /v2/token."""
    headers = {}
    if user:
        secret = AccessToken.issue(user, name="oci")[1]
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user.username}:{secret}".encode()).decode()
    return "Bearer " + json.loads(client.get("/v2/token", headers=headers).content)["token"]


def test_a_wrong_password_gets_no_token(client: Client, db: None) -> None:
    wrong = base64.b64encode(b"alice:hf_nothing").decode()
    response = client.get("/v2/token", headers={"Authorization": f"Basic {wrong}"})
    assert response.status_code == 401


@pytest.mark.parametrize("path", ["/v2/acme/GGUF/blobs/sha256:xyz", "/v2/acme/GGUF/blobs/%00"])
def test_what_is_no_digest_is_a_bad_request(client: Client, models: Commit, path: str) -> None:
    assert client.get(path).status_code == 400
