"""Rate limits: who is counted together, what is said, and that nobody is locked out by a broken counter."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from registry import rate_limits
from tests.checkpoints import record_commit
from tests.services.redis import running_redis


@pytest.fixture(autouse=True)
def few(settings: Any, db: None) -> None:
    """Three requests of each kind, counted from nought."""
    settings.HOLDFAST_RATE_LIMITS = dict.fromkeys(("api", "resolvers", "pages", "sign_in", "tokens"), (3, 60))
    settings.HOLDFAST_RATE_LIMIT_STORE = "memory://"
    settings.HOLDFAST_BLOB_DELIVERY = "inline"
    rate_limits._counter.cache_clear()


def statuses(client: Client, path: str, n_times: int, **how: Any) -> list[int]:
    found = []
    for _ in range(n_times):
        response = client.get(path, **how)
        if response.streaming:
            response.getvalue()  # read to the end, as a client would: that closes the file
        found.append(response.status_code)
    return found


def test_the_fourth_request_is_refused_and_told_when_to_come_again(client: Client) -> None:
    assert statuses(client, "/api/models", 3) == [200, 200, 200]
    response = client.get("/api/models")
    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= 61
    assert "Retry-After" in response.json()["error"]
    assert response["RateLimit"].startswith('"api";r=0;t=')
    assert response["RateLimit-Policy"] == '"fixed window";"api";q=3;w=60'


def test_the_official_client_understands_what_is_left(client: Client) -> None:
    from huggingface_hub.utils._http import parse_ratelimit_headers

    client.get("/api/models")
    found = parse_ratelimit_headers(dict(client.get("/api/models").headers))
    assert found is not None
    assert (found.resource_type, found.remaining, found.limit, found.window_seconds) == ("api", 1, 3, 60)
    assert 0 < found.reset_in_seconds <= 61


def test_bytes_pages_and_names_are_counted_apart(client: Client) -> None:
    record_commit("acme/tiny", {"config.json": b"{}"})
    for path in ("/api/models", "/acme/tiny/resolve/main/config.json", "/acme/tiny"):
        assert statuses(client, path, 4) == [200, 200, 200, 429]


def test_each_address_and_each_token_has_its_own_count(client: Client, alice_token: str) -> None:
    assert statuses(client, "/api/models", 4)[-1] == 429
    assert statuses(client, "/api/models", 1, REMOTE_ADDR="10.0.0.9") == [200]
    assert statuses(client, "/api/models", 1, headers={"Authorization": f"Bearer {alice_token}"}) == [200]


def test_made_up_tokens_are_no_way_to_more_pages(client: Client) -> None:
    tried = [client.get("/", headers={"Authorization": f"Bearer hf_{n}"}).status_code for n in range(4)]
    assert tried == [200, 200, 200, 429]


@pytest.fixture
def alice_token(alice: Any) -> str:
    from registry.models import AccessToken

    return AccessToken.issue(alice, name="test")[1]


def test_a_forwarded_address_counts_only_behind_a_proxy_that_we_know(client: Client, settings: Any) -> None:
    def ask(forwarded: str) -> int:
        return client.get("/api/models", headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask(f"10.0.0.{number}") for number in range(4)] == [200, 200, 200, 429]
    settings.HOLDFAST_PROXIES = 1
    assert [ask(f"1.1.1.1, 10.0.0.{number}") for number in range(4)] == [200] * 4
    assert [ask(f"9.9.9.{number}, 10.0.0.7") for number in range(4)] == [200, 200, 200, 429]


def test_guessing_tokens_ends_however_many_are_tried(client: Client, alice_token: str) -> None:
    tried = [client.get("/api/models", headers={"Authorization": f"Bearer hf_{n}"}) for n in range(4)]
    assert [response.status_code for response in tried] == [401, 401, 401, 429]
    right = client.get("/api/models", headers={"Authorization": f"Bearer {alice_token}"})
    assert right.status_code == 429  # even the right one is not looked at: that would tell
    assert client.get("/api/models").status_code == 200


def test_passwords_are_tried_a_few_times(client: Client) -> None:
    def attempt() -> int:
        guess = {"username": "alice", "password": uuid.uuid4().hex}
        return client.post("/account/sign-in", guess).status_code

    assert [attempt() for _ in range(4)] == [200, 200, 200, 429]


def test_health_and_styles_are_not_counted(client: Client) -> None:
    assert statuses(client, "/health", 5) == [200] * 5


def test_zero_means_no_limit(client: Client, settings: Any) -> None:
    settings.HOLDFAST_RATE_LIMITS = {"api": (0, 1)}
    assert statuses(client, "/api/models", 5) == [200] * 5
    assert "RateLimit" not in client.get("/api/models")


def test_redis_counts_for_all_processes_and_nobody_is_refused_while_it_is_away(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    with running_redis(tmp_path) as url:
        settings.HOLDFAST_RATE_LIMIT_STORE = url
        assert statuses(client, "/api/models", 2) == [200, 200]
        rate_limits._counter.cache_clear()  # another process
        assert statuses(client, "/api/models", 2) == [200, 429]
    assert statuses(client, "/api/models", 2) == [200, 200]
