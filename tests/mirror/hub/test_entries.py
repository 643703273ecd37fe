"""The filters that only we have, and what an entry of the list says under `holdfast`."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from registry.models import Commit, Job, Organisation, Repo, Upstream
from tests.checkpoints import record_commit
from tests.mirror.hub.conftest import WEIGHTS
from tests.mirror.hub.test_own import publish


@pytest.fixture
def catalog(db: None) -> Commit:
    """acme/base with a verified Q8_0 made here, and somebody's files of types in their names."""
    base = record_commit(
        "acme/base", {"model.safetensors": WEIGHTS, "config.json": b"{}"}, parameter_count=7_000_000_000,
        license="mit", architecture="llama", context_length=4096, facts={"formats": ["safetensors"]},
    )  # fmt: skip
    publish(base, "Q8_0", b"q8")
    record_commit("some/m-GGUF", {"m-Q4_K_M.gguf": b"q4", "m.IQ3_XXS.gguf": b"iq3", "plain.gguf": b"p"})
    record_commit("some/Q4_K_M", {"config.json": b"{}"})  # the name of a repo is no type
    return base


def found(client: Client, **query: Any) -> list[str]:
    response = client.get("/api/models", query)
    assert response.status_code == 200, response.content
    return sorted(entry["id"] for entry in response.json())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"quantization": "q8_0"}, ["acme/base", "acme/base-GGUF"]),
        ({"quantization": "Q4_K_M"}, ["some/m-GGUF"]),
        ({"quantization": "Q4_K"}, []),
        ({"quantization": ["IQ3_XXS", "Q8_0"]}, ["acme/base", "acme/base-GGUF", "some/m-GGUF"]),
        ({"verdict": "verified"}, ["acme/base", "acme/base-GGUF"]),
        ({"verdict": "untested"}, ["some/Q4_K_M", "some/m-GGUF"]),
        ({"verdict": ["verified", "loads"], "quantization": "Q8_0", "search": "GGUF"}, ["acme/base-GGUF"]),
        ({"upstream_gone": "true"}, []),
    ],
)  # fmt: skip
def test_our_own_filters_narrow(client: Client, catalog: Commit, query: Any, names: list[str]) -> None:
    assert found(client, **query) == names


def test_what_upstream_lost_is_found(client: Client, catalog: Commit) -> None:
    upstream = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    Repo.objects.filter(repo_id="some/m-GGUF").update(upstream=upstream, synced_at=timezone.now())
    Job.objects.create(
        kind="lookup", key="k", label="l", state="failed", error_code="repo-not-found", finished_at=timezone.now(),
        repo=Repo.objects.get(repo_id="some/m-GGUF"),
    )  # fmt: skip
    assert found(client, upstream_gone="true") == ["some/m-GGUF"]
    assert "some/m-GGUF" not in found(client, upstream_gone="false")


@pytest.mark.parametrize(
    "query",
    [{"quantization": "Q4.*"}, {"quantization": "("}, {"verdict": "good"}, {"upstream_gone": "perhaps"}],
)
def test_what_no_filter_means_is_a_400(client: Client, catalog: Commit, query: dict[str, str]) -> None:
    assert client.get("/api/models", query).status_code == 400


def test_entries_tell_what_only_we_know_when_asked(client: Client, catalog: Commit) -> None:
    entries = {entry["id"]: entry for entry in client.get("/api/models?holdfast=true").json()}
    assert entries["acme/base"]["holdfast"] == {
        "parameter_count": 7_000_000_000, "size_bytes": len(WEIGHTS) + 2, "context_length": 4096,
        "architecture": "llama", "license": "mit", "formats": ["safetensors"], "quantizations": ["Q8_0"],
        "verdict": "verified", "upstream_gone": False,
    }  # fmt: skip
    assert entries["some/m-GGUF"]["holdfast"]["quantizations"] == ["IQ3_XXS", "Q4_K_M"]
    assert "holdfast" not in client.get("/api/models").json()[0]


def test_what_was_made_in_private_is_not_told_of_its_source(
    client: Client, catalog: Commit, organisation: Organisation
) -> None:
    Repo.objects.filter(repo_id="acme/base-GGUF").update(private=True, organisation=organisation)
    entries = {entry["id"]: entry for entry in client.get("/api/models?holdfast=true").json()}
    assert entries["acme/base"]["holdfast"]["quantizations"] == []
    assert found(client, quantization="Q8_0") == []


@pytest.mark.parametrize("n_repos", [1, 12])
def test_the_list_takes_the_same_queries_for_any_number(
    client: Client, catalog: Commit, django_assert_num_queries: Any, n_repos: int
) -> None:
    for number in range(n_repos):
        record_commit(f"acme/more-{number}", {"m-Q4_0.gguf": b"%d" % number})
    with django_assert_num_queries(6):
        client.get("/api/models?holdfast=true&quantization=Q4_0&verdict=untested&upstream_gone=false")
