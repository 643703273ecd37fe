"""A small repo to ask about, and a client that sends a token."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import AccessToken, Commit, Organisation
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
