"""Real processes: a web server that is killed while it fetches, and what the next one makes of it."""

import hashlib
import http.client
import os
import random
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.deployment import Deployment
from tests.services.hub import Hub
from tests.services.processes import Service, free_port, wait_for

pytestmark = pytest.mark.one_backend

BYTES = random.Random(5).randbytes(9_000_000)
PATH = "/org/model/resolve/main/model.safetensors"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as made:
        made.add("org/model", {"model.safetensors": BYTES, "config.json": b"{}"})
        yield made


def start_web(deployment: Deployment, name: str) -> tuple[Service, str]:
    port = free_port()
    service = deployment.start("web", "--port", str(port), name=name)
    url = f"http://127.0.0.1:{port}"
    service.wait_until(lambda: answers(f"{url}/health"))
    return service, url


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def read_until_cut(url: str, got: bytearray) -> None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            while piece := answer.read(65_536):
                got += piece
    except (OSError, http.client.HTTPException):
        return


def is_served_whole(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return hashlib.sha256(answer.read()).digest() == hashlib.sha256(BYTES).digest()
    except (OSError, http.client.HTTPException):  # 503 while the dead process's lease runs out
        return False


@pytest.mark.timeout(180)
def test_a_killed_web_process_leaves_bytes_that_the_next_request_goes_on_from(
    deployment: Deployment, hub: Hub
) -> None:
    deployment.env["HOLDFAST_PULL_THROUGH"] = f"hf+{hub.url}"
    hub.fault("slow", path="*.safetensors", rate=3_000_000, times=1)
    killed, url = start_web(deployment, "killed")
    got = bytearray()
    client = threading.Thread(target=read_until_cut, args=(url + PATH, got))
    client.start()
    # On S3 nothing is seen before 8 MiB are staged; then what counts is that the process dies in between.
    on_directory = deployment.env["HOLDFAST_BLOBS"].startswith("file:")
    wait_for(lambda: len(got) > 1_000_000 if on_directory else bool(hub.seen("resolve")), what="first bytes")
    killed.kill()
    client.join()
    assert bytes(got) == BYTES[: len(got)]
    assert len(got) < len(BYTES)
    _, url = start_web(deployment, "next")
    wait_for(lambda: is_served_whole(url + PATH), seconds=90, what="the whole file")
    (job,) = [job for job in deployment.jobs() if job["kind"] == "fetch"]
    assert (job["state"], job["attempts"]) == ("succeeded", 2)
    if on_directory:
        assert any(seen.headers.get("range") for seen in hub.seen("resolve", "*.safetensors"))


@pytest.mark.timeout(180)
@pytest.mark.one_backend
def test_a_client_sees_a_short_body_when_the_bytes_are_wrong(deployment: Deployment, hub: Hub) -> None:
    deployment.env["HOLDFAST_PULL_THROUGH"] = f"hf+{hub.url}"
    hub.fault("corrupt", path="*.safetensors", at=8_999_990)
    hub.fault("slow", path="*.safetensors", rate=20_000_000)
    _, url = start_web(deployment, "web")
    with pytest.raises(http.client.IncompleteRead) as cut:
        read_whole(url + PATH)
    assert len(cut.value.partial) < len(BYTES)
    wait_for(lambda: status_of(url + PATH) == 502, seconds=30, what="the failure to be told")


PULL = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("org/model", max_workers=4))
"""


def pull(url: str, home: Path) -> subprocess.CompletedProcess[str]:
    """What the official client makes of the repo, into a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HOLDFAST_"))}
    env = kept | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "-c", PULL], env=env, capture_output=True, text=True, timeout=150, check=False
    )


@pytest.mark.timeout(300)
@pytest.mark.one_backend
def test_the_official_client_pulls_a_cold_repo_and_again_when_upstream_is_gone(
    deployment: Deployment, hub: Hub, tmp_path: Path
) -> None:
    deployment.env["HOLDFAST_PULL_THROUGH"] = f"hf+{hub.url}"
    hub.fault(
        "corrupt", path="*.safetensors", at=8_999_990, times=2
    )  # the first fetch, and its one repetition
    hub.fault("slow", path="*.safetensors", rate=30_000_000)
    _, url = start_web(deployment, "web")
    refused = pull(url, tmp_path / "refused")
    assert refused.returncode != 0
    assert "expected sha256" in refused.stderr
    kept = [path for path in (tmp_path / "refused").rglob("*.safetensors") if path.is_file()]
    assert kept == [], "the client took wrong bytes for the file"
    later = "Job.objects.filter(state='failed').update(finished_at='2020-01-01T00:00Z')"
    shell = f"from registry.models import Job; {later}"
    deployment.manage("shell", "-v", "0", "-c", shell)
    cold = pull(url, tmp_path / "cold")
    assert cold.returncode == 0, cold.stderr[-2000:]
    hub.stop()
    again = pull(url, tmp_path / "again")
    assert again.returncode == 0, again.stderr[-2000:]
    for done in (cold, again):
        assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == BYTES


def read_whole(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Length"] == str(len(BYTES))
        return bytes(answer.read())


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except http.client.HTTPException:
        return 0
