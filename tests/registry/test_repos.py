"""Former names: what was moved is found where people knew it."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import Commit, FormerName, Organisation, Repo
from registry.repos import forget_former_name
from tests.checkpoints import record_commit


@pytest.fixture
def moved(organisation: Organisation) -> Commit:
    """`acme/new`, which was called `acme/old`."""
    commit = record_commit("acme/new", {"config.json": b"{}", "deep/a.txt": b"a"}, organisation=organisation)
    FormerName.objects.create(repo=commit.repo, repo_type="model", old_repo_id="acme/old")
    return commit


@pytest.mark.parametrize(("asked", "answer"), [
    ("/api/models/acme/old?blobs=true", "/api/models/acme/new?blobs=true"),
    ("/api/models/ACME/Old/tree/main%2Fx?recursive=true", "/api/models/acme/new/tree/main%2Fx?recursive=true"),
    ("/acme/old/resolve/refs%2Fheads%2Fmain/deep%2Fa.txt", "/acme/new/resolve/refs%2Fheads%2Fmain/deep%2Fa.txt"),
    ("/%61cme/old/resolve/main/a%25.txt", "/acme/new/resolve/main/a%25.txt"),
    ("/acme/old", "/acme/new"),
    ("/acme/old/blob/main/deep/a%25b.txt?x=1", "/acme/new/blob/main/deep/a%25b.txt?x=1"),
])  # fmt: skip
@pytest.mark.usefixtures("moved")
def test_a_former_name_leads_to_the_new_one(client: Client, asked: str, answer: str) -> None:
    response = client.get(asked, RAW_URI=asked)
    assert (response.status_code, response["Location"]) == (307, answer)


def test_a_former_name_of_a_private_repo_is_nobodys_business(
    client: Client, moved: Commit, bob: User, charlie: User
) -> None:
    Repo.objects.update(private=True)
    assert client.get("/api/models/acme/old").status_code == 401
    client.force_login(charlie)
    assert client.get("/acme/old").status_code == 404
    client.force_login(bob)
    assert client.get("/acme/old").status_code == 307


def test_a_former_name_is_of_one_type(client: Client, moved: Commit) -> None:
    assert client.get("/api/datasets/acme/old").status_code == 401
    forget_former_name("dataset", "acme/old")
    assert client.get("/api/models/acme/old").status_code == 307
    forget_former_name("model", "ACME/old")
    assert client.get("/api/models/acme/old").status_code == 401


def test_who_is_really_called_so_wins(client: Client, moved: Commit) -> None:
    record_commit("acme/old", {"config.json": b"{}"})
    assert client.get("/api/models/acme/old").status_code == 200
    assert client.get("/acme/old").status_code == 200
