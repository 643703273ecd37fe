"""Our own endpoints: variants for the pull client, jobs for whoever waits."""

import hashlib
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import Artifact, Commit, Job, Organisation, Recipe, Validation
from registry.variants import variants_of
from registry.work import submit
from tests.checkpoints import record_commit, store_blob
from tests.mirror.hub.conftest import WEIGHTS, Caller

V1 = "/api/holdfast/v1"


def publish(source: Commit, name: str, data: bytes, **repo: Any) -> Commit:
    """A validated artifact of that recipe, published as conversion does it."""
    path = f"{source.repo.name}-{name}.gguf"
    home = record_commit(f"{source.repo.repo_id}-GGUF", {path: data}, message=f"Add {name}", **repo)
    recipe = Recipe.objects.create(
        digest=hashlib.sha256(name.encode()).hexdigest(), name=name, format="gguf", content={}
    )
    artifact = Artifact.objects.create(
        recipe=recipe, source=source, path=path, blob=store_blob(data), state="published", published_in=home
    )
    for verdict, passed in [("damaged", False), ("verified", True)]:
        Validation.objects.create(
            artifact=artifact, blob=artifact.blob, parent=source, path=path, verdict=verdict, passed=passed, report={},
            engine="test", mean_kld=0.004, top1_agreement=0.97, perplexity_ratio=1.001,
        )  # fmt: skip
    return home


@pytest.fixture
def base(db: None) -> Commit:
    files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "model.bin": b"bin", "tokenizer.model": b"t"}
    return record_commit("acme/base", files)


def resolve(client: Client, repo_id: str, **query: str) -> Any:
    return client.get(f"{V1}/resolve/{repo_id}", query).json()


def test_a_published_artifact_is_a_variant_of_its_source(client: Client, base: Commit) -> None:
    home = publish(base, "Q8_0", b"q8")
    found = resolve(client, "acme/base", variant="q8_0", revision="main")
    assert (found["repo_id"], found["commit"]) == ("acme/base-GGUF", home.commit_hash)
    file = found["files"][0]
    assert (file["path"], file["size_bytes"]) == ("base-Q8_0.gguf", 2)
    assert set(file) == {"path", "size_bytes", "sha256", "git_oid", "is_lfs"}
    choices = {choice["variant"]: choice for choice in found["choices"]}
    assert set(choices) == {"safetensors", "Q8_0"}
    assert choices["Q8_0"] == {
        "variant": "Q8_0", "repo_id": "acme/base-GGUF", "path": "base-Q8_0.gguf", "size_bytes": 2,
        "verdict": "verified", "commit": home.commit_hash, "pulled_by_default": True, "override": None,
        "mean_kld": 0.004, "top1_agreement": 0.97, "perplexity_ratio": 1.001, "parameter_count": None,
        "bits_per_weight": None, "context_length": None, "cache_bytes_per_token": None,
    }  # fmt: skip


def test_safetensors_is_the_checkpoint_without_other_weights(client: Client, base: Commit) -> None:
    found = resolve(client, "acme/base", variant="safetensors")
    assert found["repo_id"] == "acme/base"
    assert [file["path"] for file in found["files"]] == [
        "config.json",
        "model.safetensors",
        "tokenizer.model",
    ]


def test_without_a_variant_it_is_the_whole_commit(client: Client, base: Commit) -> None:
    found = resolve(client, "acme/base")
    assert len(found["files"]) == 4
    assert [choice["variant"] for choice in found["choices"]] == ["safetensors"]


def test_an_unknown_variant_lists_the_choices(client: Client, base: Commit) -> None:
    publish(base, "Q8_0", b"q8")
    response = client.get(f"{V1}/resolve/acme/base?variant=Q9_9")
    found = response.json()
    assert response.status_code == 404
    assert found["code"] == "unknown-variant"
    assert [choice["variant"] for choice in found["choices"]] == ["safetensors", "Q8_0"]
    assert "safetensors, Q8_0" in found["error"]


def test_only_artifacts_of_exactly_this_commit_count(client: Client, base: Commit) -> None:
    publish(base, "Q8_0", b"q8")
    later = record_commit("acme/base", {"model.safetensors": WEIGHTS + b"."})
    assert [choice["variant"] for choice in resolve(client, "acme/base")["choices"]] == ["safetensors"]
    old = resolve(client, "acme/base", revision=base.commit_hash, variant="Q8_0")
    assert old["files"]
    assert later.commit_hash == resolve(client, "acme/base")["commit"]


def test_unpublished_artifacts_are_no_choice(client: Client, base: Commit) -> None:
    publish(base, "Q8_0", b"q8")
    Artifact.objects.update(state="rejected")
    assert [choice["variant"] for choice in resolve(client, "acme/base")["choices"]] == ["safetensors"]


def test_gguf_files_of_the_repo_itself_are_named_by_their_type(client: Client, db: None) -> None:
    names = [
        "m-Q4_K_M.gguf", "m.Q8_0.gguf", "m-bf16.gguf", "m-IQ3_XXS.gguf", "plain.gguf", "mmproj-m-f16.gguf",
        "big/m-Q6_K-00001-of-00002.gguf", "big/m-Q6_K-00002-of-00002.gguf", "x/a-Q5_1.gguf", "y/a-Q5_1.gguf",
    ]  # fmt: skip
    record_commit("acme/many", {name: name.encode() for name in names})
    found = {choice["variant"]: choice["path"] for choice in resolve(client, "acme/many")["choices"]}
    assert found == {
        "Q4_K_M": "m-Q4_K_M.gguf", "Q8_0": "m.Q8_0.gguf", "BF16": "m-bf16.gguf", "IQ3_XXS": "m-IQ3_XXS.gguf",
        "plain": "plain.gguf", "Q6_K": "big/m-Q6_K-00001-of-00002.gguf", "x/a-Q5_1": "x/a-Q5_1.gguf",
        "y/a-Q5_1": "y/a-Q5_1.gguf",
    }  # fmt: skip
    assert len(resolve(client, "acme/many", variant="q6_k")["files"]) == 2


def test_a_private_derived_repo_is_not_betrayed(
    alice: User, client: Client, base: Commit, organisation: Organisation
) -> None:
    publish(base, "Q8_0", b"q8", private=True, organisation=organisation)
    assert [variant.name for variant in variants_of(base.repo, base)] == ["safetensors"]
    base.repo.private, base.repo.organisation = True, organisation
    base.repo.save(update_fields=["private", "organisation"])
    assert [variant.name for variant in variants_of(base.repo, base)] == ["safetensors", "Q8_0"]
    assert client.get(f"{V1}/resolve/acme/base").status_code == 401


def test_unknown_names_get_the_usual_errors(client: Client, base: Commit) -> None:
    assert client.get(f"{V1}/resolve/acme/none")["X-Error-Code"] == "RepoNotFound"
    assert client.get(f"{V1}/resolve/acme/base?revision=none")["X-Error-Code"] == "RevisionNotFound"


@pytest.mark.parametrize("n_recipes", [1, 12])
def test_variants_take_the_same_queries_for_any_number(
    client: Client, base: Commit, django_assert_max_num_queries: Any, n_recipes: int
) -> None:
    for number in range(n_recipes):
        publish(base, f"Q{number}_0", b"q%d" % number)
    with django_assert_max_num_queries(10):
        assert len(resolve(client, "acme/base", variant="Q0_0")["choices"]) == n_recipes + 1


# --- jobs --------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(base: Commit, secret: Commit) -> list[Job]:
    """One of a public repo, one of a private one, one of a repo that is not there yet."""
    return [
        _submit("inspect", params={"commit": base.pk}, key="1", repo=base.repo),
        _submit("inspect", params={"commit": secret.pk}, key="2", repo=secret.repo),
        _submit(
            "mirror", params={"kind": "directory", "endpoint": "/secret/path", "repo_id": "acme/new"}, key="3"
        ),
    ]


def _submit(kind: str, **how: Any) -> Job:
    return submit(kind, label=f"{kind} dir:{how['params'].get('endpoint', '')}", **how)


def seen(client: Client, query: str = "") -> list[int]:
    return [job["id"] for job in client.get(f"{V1}/jobs?{query}").json()]


def test_jobs_are_seen_by_those_who_see_their_repo(
    client: Client, jobs: list[Job], alice: User, bob: User, sign_in: Caller
) -> None:
    public, private, coming = (job.pk for job in jobs)
    assert seen(client) == [public]
    assert seen(sign_in(bob)) == [private, public]
    assert seen(sign_in(alice)) == [coming, private, public]
    assert client.get(f"{V1}/jobs/{public}").json()["state"] == "queued"
    assert client.get(f"{V1}/jobs/{private}").status_code == 404
    assert client.get(f"{V1}/jobs/{10**30}").status_code == 404


def test_paths_of_this_machine_are_for_its_operators(
    client: Client, jobs: list[Job], base: Commit, alice: User, sign_in: Caller
) -> None:
    Job.objects.filter(pk=jobs[2].pk).update(repo=base.repo, error_message="/secret/path is gone")
    assert "/secret/path" not in str(client.get(f"{V1}/jobs/{jobs[2].pk}").json())
    assert "/secret/path" not in str(client.get(f"{V1}/jobs").json())
    assert "/secret/path" in str(sign_in(alice).get(f"{V1}/jobs/{jobs[2].pk}").json())


def test_jobs_are_paged_and_filtered(jobs: list[Job], alice: User, sign_in: Caller) -> None:
    client = sign_in(alice)
    response = client.get(f"{V1}/jobs?limit=2&state=queued")
    assert len(response.json()) == 2
    rest = client.get(response["Link"][1:].partition(">")[0].removeprefix("http://testserver"))
    assert [job["id"] for job in rest.json()] == [jobs[0].pk]
    assert "Link" not in rest.headers
    assert seen(client, "state=failed") == []
    assert client.get(f"{V1}/jobs?state=odd").status_code == 400
    assert client.get(f"{V1}/jobs?cursor=eA==").status_code == 400


@pytest.mark.parametrize("n_jobs", [1, 30])
def test_the_job_list_takes_one_query(
    client: Client, base: Commit, django_assert_max_num_queries: Any, n_jobs: int
) -> None:
    for number in range(n_jobs):
        _submit("inspect", params={"commit": base.pk}, key=str(number), repo=base.repo)
    with django_assert_max_num_queries(1):
        assert len(seen(client)) == n_jobs
