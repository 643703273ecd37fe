"""What operators ask for over the API: mirrors and conversions. Who may not is in test_authorisation.py."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import AccessToken, Job, Upstream
from tests.checkpoints import ensure_repo, record_commit
from tests.mirror.hub.conftest import Caller

V1 = "/api/holdfast/v1"
JSON = "application/json"


@pytest.fixture
def operator(alice: User) -> Client:
    alice.is_staff = True
    alice.save(update_fields=["is_staff"])
    _, secret = AccessToken.issue(alice, name="ops", write=True)
    return Client(headers={"Authorization": f"Bearer {secret}"})


def post(client: Client, path: str, asked: Any) -> Any:
    return client.post(f"{V1}/{path}", asked, content_type=JSON)


def test_a_mirror_that_is_asked_for_twice_is_one_job(operator: Client) -> None:
    asked = {"upstream": "hf://meta/llama@main", "as": "acme/llama"}
    response = post(operator, "mirrors", asked)
    job = Job.objects.get()
    assert (response.status_code, response.json()["id"], job.kind) == (202, job.pk, "mirror")
    assert response["Location"].endswith(f"{V1}/jobs/{job.pk}")
    assert (job.params["repo_id"], job.params["upstream_repo_id"], job.created_by) == (
        "acme/llama", "meta/llama", "alice",
    )  # fmt: skip
    assert post(operator, "mirrors", asked).json()["id"] == job.pk


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"upstream": 5}, {"upstream": "meta/llama"}, {"upstream": "hf://a/b/c"}, {"upstream": "dir:/etc"},
        {"upstream": "hf://a/b", "as": "../x"}, {"upstream": "hf://a/b", "every": "6h"},
    ],
)  # fmt: skip
def test_what_is_no_upstream_is_refused_and_makes_no_job(operator: Client, asked: Any) -> None:
    response = post(operator, "mirrors", asked)
    assert (response.status_code, Job.objects.count()) == (400, 0)
    assert response.json()["error"]


def test_mirrors_are_listed_by_pages_to_those_who_may_see_them(operator: Client, client: Client) -> None:
    hub = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    for name in ("acme/one", "acme/two"):
        ensure_repo(name, upstream=hub, upstream_repo_id=name.upper())
        record_commit(name, {"config.json": b"{}"})
    record_commit("acme/ours", {"config.json": b"{}"})
    record_commit("acme/secret", {"config.json": b"{}"}, private=True)
    page = client.get(f"{V1}/mirrors?limit=1")
    rest = client.get(page["Link"].partition("testserver")[2].partition(">")[0])
    found = page.json() + rest.json()
    assert [(one["repo_id"], one["upstream"]["repo_id"]) for one in found] == [
        ("acme/one", "ACME/ONE"), ("acme/two", "ACME/TWO"),
    ]  # fmt: skip
    assert not rest.has_header("Link")
    assert client.get(f"{V1}/mirrors?cursor=eA==").status_code == 400


@pytest.mark.parametrize("n_repos", [1, 20])
def test_a_page_of_mirrors_takes_two_queries(
    n_repos: int, alice: User, sign_in: Caller, django_assert_num_queries: Any
) -> None:
    hub = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    for number in range(n_repos):
        ensure_repo(f"acme/m{number}", upstream=hub, upstream_repo_id="x/y")
        record_commit(f"acme/m{number}", {"config.json": b"{}"})
    signed_in = sign_in(alice)
    signed_in.get(f"{V1}/mirrors")
    with django_assert_num_queries(2):  # one is for the token
        assert len(signed_in.get(f"{V1}/mirrors").json()) == n_repos


def test_a_conversion_that_is_asked_for_twice_is_one_job(operator: Client) -> None:
    commit = record_commit("acme/base", {"config.json": b"{}", "model.safetensors": b"weights"})
    asked = {"repo": "ACME/base", "revision": "main", "to": ["q4_k_m", "Q8_0"]}
    response = post(operator, "convert", asked)
    job = Job.objects.get()
    assert (response.status_code, job.kind, job.created_by) == (202, "convert", "alice")
    assert (job.params["commit"], job.params["recipe"]) == (commit.pk, "Q4_K_M, Q8_0")
    assert post(operator, "convert", asked).json()["id"] == job.pk


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"repo": "acme/base"}, 400),
        ({"repo": "acme/base", "to": "Q8_0"}, 400),
        ({"repo": "acme/base", "to": ["Q99"]}, 400),
        ({"repo": "acme/base", "to": ["Q8_0"], "imatrix": "newest"}, 400),
        ({"repo": "acme/base", "to": ["Q8_0"], "allow_requantize": "yes"}, 400),
        ({"repo": "acme/base", "to": ["Q8_0"], "colour": "red"}, 400),
        ({"repo": "acme/nothing", "to": ["Q8_0"]}, 404),
        ({"repo": "acme/base", "revision": "v9", "to": ["Q8_0"]}, 404),
    ],
)
def test_what_cannot_be_converted_is_refused_and_makes_no_job(
    operator: Client, asked: Any, status: int
) -> None:
    record_commit("acme/base", {"config.json": b"{}", "model.safetensors": b"weights"})
    assert (post(operator, "convert", asked).status_code, Job.objects.count()) == (status, 0)


def test_only_staff_operate(client: Client, db: None) -> None:
    _, secret = AccessToken.issue(User.objects.create_user("writer"), name="ci", write=True)
    somebody = Client(headers={"Authorization": f"Bearer {secret}"})
    for path, asked in (("mirrors", {"upstream": "hf://a/b"}), ("convert", {"repo": "a/b", "to": ["Q8_0"]})):
        assert post(somebody, path, asked).status_code == 403
        assert post(client, path, asked).status_code == 401
    assert Job.objects.count() == 0
