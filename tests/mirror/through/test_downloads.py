"""Bytes that only upstream has: streamed while they are fetched once, proven before the last one is given."""

import hashlib
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from mirror.blobs.store import blob_key
from mirror.store import blob_store
from mirror.sync import submit_mirror
from mirror.through.fetches import upstream_of
from registry import work
from registry.models import Commit, Event, File, Job
from tests.mirror.through.conftest import FILES, WEIGHTS
from tests.mirror.through.reading import (
    BIG,
    PATH,
    body,
    fetch_job,
)
from tests.services.hub import Hub
from tests.services.processes import wait_for

# --- what is true afterwards --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
def test_a_cold_file_is_served_and_kept(through: Client, hub: Hub, path: str) -> None:
    answer = through.get(f"/org/model/resolve/main/{path}")
    assert (answer.status_code, body(answer)) == (200, FILES[path])
    file = File.objects.select_related("blob").get(path=path)
    assert blob_store().read(blob_key(file.held.sha256)) == FILES[path]
    assert file.held.verified_at is not None
    hub.stop()
    assert body(through.get(f"/org/model/resolve/main/{path}")) == FILES[path]
    assert list(blob_store().staged_names()) == []


def test_raw_gives_small_files_and_pointers(through: Client) -> None:
    assert body(through.get("/org/model/raw/main/config.json")) == FILES["config.json"]
    assert b"git-lfs" in body(through.get("/org/model/raw/main/model.safetensors"))


def test_the_last_file_makes_the_commit_complete(through: Client, hub: Hub) -> None:
    for number, path in enumerate(FILES):
        commit = Commit.objects.first()
        assert number == 0 or not commit.is_complete
        body(through.get(f"/org/model/resolve/main/{path}"))
    wait_for(lambda: Commit.objects.get().is_complete, what="the commit to be complete")
    commit = Commit.objects.get()
    assert Event.objects.filter(commit=commit, type="ingestion").count() == 1
    assert Job.objects.filter(kind="inspect", params__commit=commit.pk).count() == 1
    listed = blob_store().read(commit.manifest_key)
    assert all(path.encode() in listed for path in FILES)


def test_one_fetch_serves_every_file_of_the_repo_with_these_bytes(through: Client, hub: Hub) -> None:
    hub.add("org/model", {**FILES, "copy.safetensors": WEIGHTS})
    body(through.get(PATH))
    assert body(through.get("/org/model/resolve/main/copy.safetensors")) == WEIGHTS
    assert len(hub.seen("resolve")) == 1


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=1000000-1000099", "bytes=-10", "bytes=5-"])
def test_a_range_of_a_cold_file(through: Client, asked: str) -> None:
    answer = through.get(PATH, headers={"Range": asked})
    first, _, last = asked.removeprefix("bytes=").partition("-")
    wanted = WEIGHTS[int(first) : int(last) + 1 if last else None] if first else WEIGHTS[-int(last) :]
    assert (answer.status_code, body(answer)) == (206, wanted)


def test_a_range_is_served_as_soon_as_its_bytes_are_staged(through: Client, hub: Hub, settings: Any) -> None:
    if "s3" in settings.HOLDFAST_BLOBS[:2]:
        pytest.skip("a bucket shows whole parts of 8 MiB")
    hub.add("org/model", {"model.safetensors": BIG})
    hub.fault("stall", at=2_000_000, times=1)
    answer = through.get(PATH, headers={"Range": "bytes=0-1499999"})
    assert body(answer) == BIG[:1_500_000]
    assert fetch_job().state == "running"


def test_what_a_mirror_job_brings_completes_the_commit(through: Client, hub: Hub) -> None:
    body(through.get(PATH))
    job = submit_mirror(upstream_of(Commit.objects.select_related("repo__upstream").get()), send_nudge=False)
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_message
    commit = Commit.objects.get()
    assert (commit.is_complete, commit.files.filter(blob=None).count()) == (True, 0)
    assert len(hub.seen("resolve", "model.safetensors")) == 1
    assert Job.objects.filter(kind="inspect", params__commit=commit.pk).count() == 1


def test_the_rest_follows_where_that_is_wanted(through: Client, settings: Any) -> None:
    settings.HOLDFAST_PULL_THROUGH_WHOLE = True
    body(through.get("/org/model/resolve/main/config.json"))
    work.run_job(Job.objects.get(kind="mirror").pk)
    assert Commit.objects.get().is_complete


def test_gated_files_need_an_account_before_anything_is_fetched(through: Client, hub: Hub) -> None:
    hub.repos["org/model"].gated = "auto"
    assert through.get(PATH).status_code == 401
    assert hub.seen("resolve") == []


def test_what_only_upstream_has_is_refused_when_pull_through_is_off(through: Client, settings: Any) -> None:
    through.head(PATH)
    settings.HOLDFAST_PULL_THROUGH = []
    assert (through.head(PATH).status_code, through.get(PATH)["X-Error-Code"]) == (200, "BytesUnavailable")


# --- many at once -------------------------------------------------------------------------------------------


def test_many_at_once_share_one_upstream_fetch(through: Client, hub: Hub) -> None:
    hub.add("org/model", {"model.safetensors": BIG})
    hub.fault("slow", rate=6_000_000)
    through.head(PATH)
    got: list[bytes] = []

    def read() -> None:
        got.append(body(Client().get(PATH)))
        connection.close()

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [piece == BIG for piece in got] == [True] * 12
    assert len(hub.seen("resolve")) == 1


def test_a_client_that_leaves_cancels_nothing(through: Client, hub: Hub) -> None:
    hub.add("org/model", {"model.safetensors": BIG})
    hub.fault("slow", rate=4_000_000)
    answer = through.get(PATH)
    next(iter(answer.streaming_content))
    answer.close()
    wait_for(lambda: File.objects.filter(blob__isnull=False).exists(), what="the file to be held")
    assert len(hub.seen("resolve")) == 1


def test_who_finds_no_room_to_follow_is_told_to_come_back_and_the_fetch_goes_on(
    through: Client, hub: Hub, settings: Any
) -> None:
    through.head(PATH)
    settings.HOLDFAST_PULL_THROUGH_WAITING = 0
    answer = through.get(PATH)
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    wait_for(lambda: File.objects.filter(blob__isnull=False).exists(), what="the file to be held")


def test_ollama_pulls_what_only_upstream_has(hub: Hub, through: Client) -> None:
    model = b"GGUF" * 50_000
    hub.add("org/model-GGUF", {"model-Q4_K_M.gguf": model, "README.md": b"#"})
    said = through.get("/v2/org/model-GGUF/manifests/Q4_K_M").json()
    assert said["layers"][0]["digest"] == f"sha256:{hashlib.sha256(model).hexdigest()}"
    response = through.get(f"/v2/org/model-GGUF/blobs/{said['layers'][0]['digest']}")
    assert b"".join(response.streaming_content) == model
