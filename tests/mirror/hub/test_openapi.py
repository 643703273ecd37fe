"""The OpenAPI document: it has every route of our own API, and the server does what it says, whatever it is sent."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CheckContext

from mirror.hub.openapi import SOURCE
from registry.models import AccessToken, Commit, Lineage, Organisation
from registry.wsgi import application
from tests.checkpoints import record_commit, record_tag
from tests.mirror.hub.test_urls import routed

ADDRESS = "/api/holdfast/v1/openapi.json"


def test_every_route_of_our_own_api_is_in_the_document() -> None:
    """All but those that LFS clients are sent to: they are no JSON, and signed for one client each."""
    document = yaml.safe_load(SOURCE.read_text())
    ours = {f"/{route}" for route in routed() if route.startswith("api/holdfast/v1/")}
    ours = {route for route in ours if not route.startswith("/api/holdfast/v1/uploads/")}
    assert set(document["paths"]) == ours


def test_the_document_is_served(client: Client) -> None:
    assert client.get(ADDRESS).json()["info"]["title"] == "Holdfast"


@pytest.fixture
def catalog(organisation: Organisation) -> Commit:
    """What the examples of the document name, and a relative of it."""
    commit = record_commit("acme/model", {"model-Q4_K_M.gguf": b"GGUF" * 9, "config.json": b"{}"})
    record_tag(commit, "v1.0")
    child = record_commit("acme/child", {"config.json": b"{}"}).repo
    Lineage.objects.create(
        child=child, parent=commit.repo, parent_repo_id="acme/model", relation="finetune", evidence="declared"
    )
    record_commit("acme/secret", {"config.json": b"{}"}, private=True, organisation=organisation)
    return commit


@pytest.fixture
def api(catalog: Commit) -> Iterator[Any]:
    """The document as the server gives it; requests share the connection, and the transaction, of the test."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi(ADDRESS, application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


OPERATIONS = [
    (method.upper(), path)
    for path, item in yaml.safe_load(SOURCE.read_text())["paths"].items()
    for method in item
    if method in ("get", "post")
]
each_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)


@each_operation
def test_the_server_does_what_the_document_says(api: Any, alice: User, method: str, path: str) -> None:
    ask_many(api[path][method], alice, n_times=10)


GOOD = [
    ("resolve/{org}/{name}", {"variant": "Q4_K_M"}),
    ("resolve/{org}/{name}", {}),
    ("lineage/{org}/{name}", {}),
    ("copies/{org}/{name}", {"revision": "v1.0"}),
    ("files/{digest}", {}),
    ("validations/{org}/{name}", {}),
    ("validations/{org}/{name}/{sha256}", {}),
    ("jobs", {"state": "queued"}),
    ("mirrors", {"limit": "1"}),
]


@pytest.mark.parametrize(("path", "query"), GOOD)
def test_a_good_question_gets_the_answer_that_the_document_describes(
    api: Any, catalog: Commit, path: str, query: dict[str, str]
) -> None:
    sha256 = catalog.files.get(path="model-Q4_K_M.gguf").sha256
    names = {"org": "acme", "name": "model", "digest": sha256, "sha256": sha256}
    operation = api[f"/api/holdfast/v1/{path}"]["get"]
    case = operation.Case(
        path_parameters={name: value for name, value in names.items() if f"{{{name}}}" in path}, query=query
    )
    response = case.call()
    assert response.status_code == 200
    case.validate_response(response, checks=[no_wrong_form])


def test_relatives_and_places_are_told_to_those_who_may_know(client: Client, catalog: Commit) -> None:
    relatives = client.get("/api/holdfast/v1/lineage/acme/model").json()
    assert [(one["repo_id"], one["relation"]) for one in relatives["children"]] == [
        ("acme/child", "finetune")
    ]
    sha256 = catalog.files.get(path="config.json").blob.sha256
    found = client.get(f"/api/holdfast/v1/files/{sha256}").json()
    assert {place["repo_id"] for place in found["files"]} == {"acme/model", "acme/child"}  # not acme/secret
    assert client.get(f"/api/holdfast/v1/files/{found['git_oid']}").json() == found
    assert found["verdict"] is None
    copies = client.get("/api/holdfast/v1/copies/acme/model").json()
    assert (copies["n_files"], copies["blobs"]["present"], copies["is_complete"]) == (2, 2, True)


@pytest.mark.soak
@each_operation
def test_the_server_does_what_the_document_says_five_thousand_times(
    api: Any, alice: User, method: str, path: str
) -> None:
    ask_many(api[path][method], alice, n_times=5000 // len(OPERATIONS) + 1)


def ask_many(operation: Any, alice: User, n_times: int) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=n_times, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def ask(case: Any) -> None:
        answer(case, alice)

    ask()


def answer(case: Any, alice: User) -> None:
    """Half of the requests are Alice's, half a stranger's; none may fail, each must have the form it should."""
    headers = {}
    if len(case.formatted_path) % 2:
        headers["Authorization"] = f"Bearer {AccessToken.issue(alice, name='fuzz', write=True)[1]}"
    response = case.call(headers=headers)
    assert response.status_code < 500 or response.status_code == 503, response.text
    case.validate_response(response, checks=[no_wrong_form])


def no_wrong_form(context: CheckContext, response: Any, case: Any) -> None:
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    content_type_conformance(context, response, case)
    response_schema_conformance(context, response, case)
