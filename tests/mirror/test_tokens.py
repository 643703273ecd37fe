"""A token for an upstream is kept sealed, goes to that upstream only, and shows up nowhere else."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.db import connection

from mirror.opening import open_client
from mirror.store import blob_store
from mirror.sync import submit_mirror
from mirror.tokens import BadToken, TokenSealed, keep_token, seal_again, token_for, unseal
from mirror.upstream import UpstreamRef, parse_upstream_ref
from mirror.upstream.base import UpstreamError
from registry import work
from registry.models import Commit, Event, Job, Upstream
from tests.services.hub import Hub

pytestmark = pytest.mark.one_backend

SECRET = "hf_PlantedSecretThatNobodyMayEverSee0123456789"
ENDPOINT = "https://hub.example"
FILES: dict[str, Any] = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40}


@pytest.fixture
def upstream(db: None) -> Upstream:
    return Upstream.objects.create(kind="huggingface", endpoint=ENDPOINT)


def test_a_kept_token_is_given_back_and_is_not_readable_in_the_row(upstream: Upstream) -> None:
    keep_token(upstream, SECRET)
    assert token_for("huggingface", ENDPOINT) == SECRET
    assert SECRET not in serializers.serialize("json", Upstream.objects.all())
    keep_token(upstream, "")
    assert token_for("huggingface", ENDPOINT) is None


def test_it_is_sealed_differently_every_time(upstream: Upstream) -> None:
    keep_token(upstream, SECRET)
    before = upstream.sealed_token
    keep_token(upstream, SECRET)
    assert upstream.sealed_token != before


def test_one_of_the_environment_wins(upstream: Upstream, settings: Any) -> None:
    keep_token(upstream, SECRET)
    settings.HOLDFAST_UPSTREAM_TOKENS = ["other.example=no", "HUB.example=from-environment"]
    assert token_for("huggingface", ENDPOINT) == "from-environment"


def test_hf_token_is_for_the_hub_only(db: None, settings: Any) -> None:
    settings.HF_TOKEN = "hf_of_the_hub"
    assert token_for("huggingface", settings.HOLDFAST_HUB_ENDPOINT) == "hf_of_the_hub"
    assert token_for("huggingface", ENDPOINT) is None
    assert token_for("directory", "/srv/weights") is None


def test_an_older_secret_key_still_opens_it_until_it_is_sealed_again(
    upstream: Upstream, settings: Any
) -> None:
    keep_token(upstream, SECRET)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new key", [settings.SECRET_KEY]
    assert unseal(upstream) == SECRET
    seal_again(upstream)
    settings.SECRET_KEY_FALLBACKS = []
    assert unseal(Upstream.objects.get()) == SECRET


def test_a_lost_secret_key_is_said_with_the_remedy(upstream: Upstream, settings: Any) -> None:
    keep_token(upstream, SECRET)
    settings.SECRET_KEY = "another"
    with pytest.raises(TokenSealed, match="HOLDFAST_SECRET_KEY_FALLBACKS"):
        token_for("huggingface", ENDPOINT)


def test_a_token_moved_to_the_row_of_another_host_cannot_be_opened(upstream: Upstream) -> None:
    keep_token(upstream, SECRET)
    thief = Upstream.objects.create(
        kind="huggingface", endpoint="https://thief.example", sealed_token=upstream.sealed_token
    )
    with pytest.raises(TokenSealed):
        unseal(thief)


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Evil: 1", "ünicode", "x" * 4097])
def test_what_would_break_a_header_is_refused_without_showing_it(
    upstream: Upstream, settings: Any, token: str
) -> None:
    with pytest.raises(BadToken) as refused:
        keep_token(upstream, token)
    assert token not in str(refused.value)
    settings.HOLDFAST_UPSTREAM_TOKENS = [f"hub.example={token}"]
    with pytest.raises(BadToken) as refused:
        token_for("huggingface", ENDPOINT)
    assert token not in str(refused.value)


# --- where it goes ----------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(token=SECRET, cdn=True) as running:
        running.add("org/model", FILES)
        yield running


def keep(hub: Hub) -> Upstream:
    upstream, _ = Upstream.objects.get_or_create(kind="huggingface", endpoint=hub.url)
    keep_token(upstream, SECRET)
    return upstream


def mirror(hub: Hub) -> Job:
    job = submit_mirror(parse_upstream_ref(f"hf+{hub.url}/org/model"), send_nudge=False)
    work.run_job(job.pk)
    job.refresh_from_db()
    return job


def everything_written() -> str:
    """All rows of all tables of ours, as text."""
    with connection.cursor() as cursor:
        tables = [
            name for name in connection.introspection.table_names(cursor) if name.startswith("registry_")
        ]
        rows = []
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += [str(row) for row in cursor.fetchall()]
    return "\n".join(rows)


@pytest.mark.django_db(transaction=True)
def test_it_reaches_its_upstream_and_no_row_manifest_or_log(
    hub: Hub, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings.HOLDFAST_UPSTREAM_ALLOW = [hub.cdn_address]
    keep(hub)
    job = mirror(hub)
    assert job.state == "succeeded", job.error_message
    assert {seen.headers.get("authorization") for seen in hub.seen("resolve")} == {f"Bearer {SECRET}"}
    assert [seen.headers.get("authorization") for seen in hub.seen("cdn")] == [None]
    commit = Commit.objects.get()
    with blob_store().open(f"commits/{commit.repo.repo_id}/{commit.commit_hash}.json") as manifest:
        assert SECRET.encode() not in manifest.read()
    assert SECRET not in json.dumps(job.as_json(), default=str)
    assert SECRET not in everything_written()
    assert SECRET not in caplog.text


@pytest.mark.parametrize("fault", [
    {"kind": "status", "status": 500}, {"kind": "status", "status": 403}, {"kind": "not-json", "on": "tree"},
    {"kind": "cut", "at": 3}, {"kind": "status", "status": 429, "retry_after": 100},
])  # fmt: skip
@pytest.mark.django_db(transaction=True)
def test_no_error_shows_it(
    hub: Hub, settings: Any, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    settings.HOLDFAST_MAX_ATTEMPTS = 1
    settings.HOLDFAST_UPSTREAM_ALLOW = [hub.cdn_address]
    keep(hub)
    hub.fault(**{"path": "*", **fault})
    job = mirror(hub)
    assert job.error_code
    assert SECRET not in job.error_message + caplog.text + everything_written()


@pytest.mark.django_db
def test_the_same_host_under_another_scheme_or_port_does_not_get_it(hub: Hub) -> None:
    keep(hub)
    with Hub() as neighbour:
        neighbour.add("org/model", FILES)
        open_client(parse_upstream_ref(f"hf+{neighbour.url}/org/model")).resolve("org/model", "main")
        assert all("authorization" not in seen.headers for seen in neighbour.requests)
    with pytest.raises(UpstreamError) as failure:
        open_client(UpstreamRef("huggingface", f"https://{hub.address}", "org/model")).resolve(
            "org/model", "main"
        )
    assert SECRET not in str(failure.value)


@pytest.mark.django_db
def test_a_presigned_address_is_named_without_its_signature(hub: Hub, tmp_path: Path) -> None:
    ref = parse_upstream_ref(f"hf+{hub.url}/org/model")
    keep(hub)
    hub.fault("redirect", to=f"{hub.url}/gone/away?X-Amz-Signature=planted-signature")
    client = open_client(ref)
    commit = client.resolve("org/model", "main")
    file = next(one for one in client.list_files("org/model", commit.commit_hash) if one.lfs_sha256)
    with (
        pytest.raises(UpstreamError) as failure,
        client.open("org/model", commit.commit_hash, file) as pieces,
    ):
        list(pieces)
    assert "planted-signature" not in str(failure.value)
    assert not Event.objects.exists()
