"""How many queries each question takes: the same for any number of repos, files and commits."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.checkpoints import record_commit, record_tag
from tests.mirror.hub.conftest import Caller

MODEL = "/api/models/acme/many"
QUESTIONS = {  # one of each is for the token
    MODEL: 3,
    f"{MODEL}?blobs=true": 3,
    f"{MODEL}/revision/main": 3,
    f"{MODEL}/revision/v1": 4,
    f"{MODEL}/tree/main": 3,
    f"{MODEL}/tree/main/folder?recursive=true": 3,
    f"{MODEL}/tree/v1": 4,
    f"{MODEL}/refs": 3,
    f"{MODEL}/commits/main": 5,
    "/acme/many/resolve/main/folder/0.txt": 3,
    "/acme/many/resolve/v1/folder/0.txt": 4,
    "/api/models?limit=5": 3,
    "/api/models?sort=lastModified&filter=x&author=acme": 3,
    "/api/models?full=true&limit=5": 4,
}


@pytest.fixture(params=[1, 40])
def client(request: pytest.FixtureRequest, alice: User, sign_in: Caller) -> Client:
    """Of Alice, in a registry with so many repos, commits and files."""
    files = {f"folder/{number}.txt": b"%d" % number for number in range(request.param)}
    for number in range(min(request.param, 5)):
        commit = record_commit("acme/many", files | {"README.md": b"%d" % number})
    record_tag(commit, "v1")
    for number in range(request.param // 4):
        record_commit(f"acme/other-{number}", {"a.txt": b"a"})
    signed_in = sign_in(alice)
    signed_in.head("/api/models")  # notes the first use of the token
    signed_in.get(f"{MODEL}/tree/main")  # reads the folders of the commit, which never change
    return signed_in


def test_what_clients_ask_most_takes_as_few_queries_for_any_number(
    client: Client, django_assert_num_queries: Any
) -> None:
    for url, count in QUESTIONS.items():
        for call in (client.get, client.head):
            with django_assert_num_queries(count):
                response: Any = call(url, RAW_URI=url)
            assert response.status_code == 200
            b"".join(response)  # a file that is read to its end is closed


def test_paths_of_a_commit_take_three_queries_for_any_number(
    client: Client, django_assert_num_queries: Any
) -> None:
    url, asked = f"{MODEL}/paths-info/main", [f"folder/{number}.txt" for number in range(50)]
    with django_assert_num_queries(3):
        client.post(url, {"paths": asked}, content_type="application/json", RAW_URI=url)
