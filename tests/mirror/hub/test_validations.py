"""Verdicts by the API: who may ask, what is told, and what stays private."""

import hashlib
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import (
    AccessToken,
    Artifact,
    Commit,
    Event,
    Job,
    Organisation,
    Recipe,
    Upstream,
    Validation,
)
from registry.overrides import BadOverride, grant_override
from tests.checkpoints import ensure_repo, record_commit, store_blob
from tests.mirror.hub.conftest import Caller

V1 = "/api/holdfast/v1"


@pytest.fixture
def base(db: None) -> Commit:
    return record_commit("acme/base", {"config.json": b"{}", "model.safetensors": b"weights"})


@pytest.fixture
def quants(db: None) -> Commit:
    hub = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    ensure_repo("someone/base-GGUF", upstream=hub, upstream_repo_id="someone/base-GGUF")
    return record_commit("someone/base-GGUF", {"b-Q4_K_M.gguf": b"q4", "b-Q8_0.gguf": b"q8", "x.bin": b"x"})


@pytest.fixture
def writer(alice: User) -> Client:
    _, secret = AccessToken.issue(alice, name="ci", write=True)
    return Client(headers={"Authorization": f"Bearer {secret}"})


def judged(commit: Commit, path: str, parent: Commit | None, kld: float = 0.01, **report: Any) -> Validation:
    """A run on that file, with its report in the store."""
    content = {
        "schema": 2,
        "verdict": "verified" if parent else "loads",
        "figures": {"mean_kld": kld},
    } | report
    blob = store_blob(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    return Validation.objects.create(
        blob=commit.files.get(path=path).blob, path=path, parent=parent, verdict=content["verdict"], passed=True,
        report=content, report_blob=blob, engine="test", limits_version=2, mean_kld=kld,
    )  # fmt: skip


def artifact_of(base: Commit) -> Artifact:
    digest = hashlib.sha256(b"Q8_0").hexdigest()
    recipe = Recipe.objects.create(digest=digest, name="Q8_0", format="gguf", content={})
    return Artifact.objects.create(recipe=recipe, source=base, path="base-Q8_0.gguf", blob=store_blob(b"q8"))


def ask(client: Client, **question: Any) -> Any:
    return client.post(f"{V1}/validate", question, content_type="application/json")


def test_asking_twice_is_one_job(writer: Client, base: Commit, quants: Commit) -> None:
    wishes = {"repo": "someone/base-GGUF", "path": "b-Q8_0.gguf", "parent": "acme/base@main"}
    first, again = ask(writer, **wishes), ask(writer, **wishes)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert first["Location"].endswith(f"{V1}/jobs/{first.json()['id']}")
    params = Job.objects.get().params
    assert (params["path"], params["parent"]) == ("b-Q8_0.gguf", base.pk)
    assert (
        ask(writer, repo="someone/base-GGUF", variant="q4_k_m", parent="").json()["params"]["parent"] is None
    )


def test_an_artifact_is_asked_for_by_its_number(writer: Client, base: Commit) -> None:
    artifact = artifact_of(base)
    assert ask(writer, artifact=artifact.pk).json()["params"]["artifact"] == artifact.pk


@pytest.mark.parametrize(
    ("question", "status", "words"),
    [
        ({}, 400, "Name an `artifact`"),
        ({"repo": "someone/base-GGUF"}, 400, "a `variant` of: Q4_K_M, Q8_0"),
        ({"repo": "someone/base-GGUF", "path": "nothing.gguf"}, 404, "does not exist"),
        ({"repo": "someone/base-GGUF", "path": "b-Q8_0.gguf", "parent": "no spaces"}, 400, "must be like"),
        ({"repo": "someone/base-GGUF", "path": 7}, 400, "must be a text"),
        ({"repo": "acme/none"}, 404, "Repository not found"),
        ({"artifact": 10**30}, 404, "There is no artifact"),
        ({"artifact": 1, "colour": "red"}, 400, "nothing else is known"),
    ],
)
def test_what_cannot_be_judged_is_told_in_words(
    writer: Client, quants: Commit, question: dict[str, Any], status: int, words: str
) -> None:
    response = ask(writer, **question)
    assert (response.status_code, words in response.json()["error"]) == (status, True), response.json()
    assert not Job.objects.exists()


def test_only_a_token_that_may_write_may_ask(
    client: Client, alice: User, base: Commit, sign_in: Caller
) -> None:
    artifact = artifact_of(base)
    assert ask(client, artifact=artifact.pk).status_code == 401
    assert ask(sign_in(alice), artifact=artifact.pk).status_code == 403
    client.force_login(alice)  # a cookie changes nothing here
    assert ask(client, artifact=artifact.pk).status_code == 401
    assert not Job.objects.exists()


def test_the_list_has_the_closest_first_wherever_it_lies(
    client: Client, base: Commit, quants: Commit
) -> None:
    others = record_commit("other/base-GGUF", {"far-Q8_0.gguf": b"far"})
    judged(others, "far-Q8_0.gguf", base, kld=0.05)
    judged(quants, "b-Q8_0.gguf", base, kld=0.01)
    listed = client.get(f"{V1}/validations/acme/base").json()
    told = [(one["repo_id"], one["closest_of_type"], one["newest"]["mean_kld"]) for one in listed]
    assert told == [("someone/base-GGUF", True, 0.01), ("other/base-GGUF", False, 0.05)]
    assert "someone/base-GGUF" in client.get("/?verdict=verified").content.decode()
    own = client.get(f"{V1}/validations/someone/base-GGUF").json()
    assert [(one["path"], one["verdict"]) for one in own] == [
        ("b-Q8_0.gguf", "verified"), ("b-Q4_K_M.gguf", "untested"),
    ]  # fmt: skip


def test_a_report_is_its_bytes_for_ever(client: Client, base: Commit, quants: Commit) -> None:
    row = judged(quants, "b-Q8_0.gguf", base)
    response = client.get(f"{V1}/reports/{row.report_sha256}")
    assert hashlib.sha256(response.content).hexdigest() == row.report_sha256
    assert (response["ETag"], response["Cache-Control"]) == (
        f'"{row.report_sha256}"', "public, max-age=31536000, immutable",
    )  # fmt: skip
    same = client.get(f"{V1}/reports/{row.report_sha256}", headers={"If-None-Match": response["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    for unknown in ("ab" * 32, base.files.get(path="model.safetensors").blob.sha256, "nonsense"):
        assert client.get(f"{V1}/reports/{unknown}").status_code == 404


def test_history_says_what_changed_from_run_to_run(client: Client, base: Commit, quants: Commit) -> None:
    judged(quants, "b-Q8_0.gguf", base, kld=0.01, limits={"version": 1, "class": "8 bit"})
    row = judged(quants, "b-Q8_0.gguf", base, kld=0.02, limits={"version": 2, "class": "8 bit"})
    found = client.get(f"{V1}/validations/someone/base-GGUF/{row.blob.sha256}").json()
    newest, oldest = found["runs"]
    assert oldest["since"] is None
    assert newest["since"] == {
        "comparable": True, "obstacles": [],
        "changes": [{"name": "limits.version", "before": 1, "after": 2},
                    {"name": "figures.mean_kld", "before": 0.01, "after": 0.02}],
    }  # fmt: skip
    assert client.get(f"{V1}/validations/acme/base/{row.blob.sha256}").status_code == 404


def test_what_was_compared_with_a_private_parent_is_not_told_to_strangers(
    client: Client, secret: Commit, quants: Commit, sign_in: Caller, bob: User
) -> None:
    row = judged(quants, "b-Q8_0.gguf", secret)
    member = sign_in(bob)
    for path in (f"reports/{row.report_sha256}", "validations/acme/secret"):
        assert client.get(f"{V1}/{path}").status_code in (401, 404)
        assert member.get(f"{V1}/{path}").status_code == 200
    history = f"{V1}/validations/someone/base-GGUF/{row.blob.sha256}"
    assert client.get(history).json()["runs"] == []
    assert len(member.get(history).json()["runs"]) == 1
    assert (
        "acme/secret" not in client.get(f"/someone/base-GGUF/validation/{row.blob.sha256}").content.decode()
    )


def test_an_override_stands_beside_what_was_measured(client: Client, base: Commit, quants: Commit) -> None:
    row = judged(quants, "b-Q8_0.gguf", base)
    with pytest.raises(BadOverride, match="needs a reason"):
        grant_override(row.blob, "damaged", "  ", by="alice")
    grant_override(row.blob, "loads", "first thought", by="alice")
    grant_override(row.blob, "damaged", "talks nonsense in Czech", by="alice")
    (choice,) = [
        one
        for one in client.get(f"{V1}/resolve/someone/base-GGUF").json()["choices"]
        if one["variant"] == "Q8_0"
    ]
    assert (choice["verdict"], choice["pulled_by_default"]) == ("damaged", False)
    assert choice["override"]["reason"] == "talks nonsense in Czech"
    page = client.get(f"/someone/base-GGUF/validation/{row.blob.sha256}").content.decode()
    assert "<b>Taken for damaged</b> by decision of alice" in page
    assert "<b>Verified.</b>" in page
    assert Event.objects.filter(blob=row.blob, agent="alice", repo=quants.repo).count() == 2


def test_the_list_takes_the_same_queries_for_any_number(
    client: Client,
    base: Commit,
    quants: Commit,
    django_assert_max_num_queries: Any,
    organisation: Organisation,
) -> None:
    for path in ("b-Q8_0.gguf", "b-Q4_K_M.gguf", "x.bin"):
        judged(quants, path, base)
        judged(quants, path, base)
    with django_assert_max_num_queries(11):
        assert len(client.get(f"{V1}/validations/acme/base").json()) == 3
