"""A small repo to ask about, and a client that sends a token."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mirror.creating import create_repo
from mirror.store import blob_store
from registry.models import AccessToken, Commit, Organisation, Repo
from tests.checkpoints import record_commit

WEIGHTS = bytes(range(256)) * 40
FILES = {
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    "README.md": b"# Tiny\n",
    "config.json": b'{"model_type": "llama"}\n',
    "model.safetensors": WEIGHTS,
    "deep/a/b.txt": b"b\n",
    "deep/a%25b#c.txt": b"percent\n",
    "deep/naïve ü.txt": "ü\n".encode(),
    "empty.txt": b"",
}

Caller = Callable[[User], Client]


@pytest.fixture(autouse=True)
def _inline(settings: Any) -> None:
    """Bytes come through us whatever the store; the tests of redirects say otherwise."""
    settings.HOLDFAST_BLOB_DELIVERY = "inline"


@pytest.fixture
def commit(db: None) -> Commit:
    return record_commit("acme/tiny", FILES)


@pytest.fixture
def secret(organisation: Organisation) -> Commit:
    """A private repo of acme."""
    return record_commit("acme/secret", {"config.json": b"{}"}, private=True, organisation=organisation)


@pytest.fixture
def sign_in() -> Caller:
    """A client that sends a fresh token of that user."""

    def signed_in(user: User) -> Client:
        _, value = AccessToken.issue(user, name="test")
        return Client(headers={"Authorization": f"Bearer {value}"})

    return signed_in


@pytest.fixture
def sign_in_to_write() -> Caller:
    """A client that sends a fresh token which may write, of that user."""

    def signed_in(user: User) -> Client:
        _, value = AccessToken.issue(user, name="test", write=True)
        return Client(headers={"Authorization": f"Bearer {value}"})

    return signed_in


@pytest.fixture
def alice_client(alice: User, sign_in: Caller) -> Client:
    return sign_in(alice)


@pytest.fixture
def charlie_client(charlie: User, sign_in: Caller) -> Client:
    return sign_in(charlie)


@pytest.fixture
def writing() -> Caller:
    """A client whose token may write."""

    def made(user: User) -> Client:
        _, secret = AccessToken.issue(user, name="test", write=True)
        return Client(headers={"Authorization": f"Bearer {secret}"})

    return made


@pytest.fixture
def own(alice: User, organisation: Organisation) -> Repo:
    """A repo of acme, made over the API, with a first commit."""
    return create_repo(blob_store(), alice, organisation, "own", repo_type="model", private=False)


@pytest.fixture
def owner(alice: User, own: Repo, writing: Caller) -> Client:
    """Alice, who may write to it."""
    return writing(alice)
