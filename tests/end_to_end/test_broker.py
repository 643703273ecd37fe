"""The broker is only a nudge: flushing it, doubling its messages or taking it away loses nothing."""

import shutil
import subprocess
from pathlib import Path

from tests.services.deployment import Deployment
from tests.services.hub import Hub
from tests.services.processes import wait_for
from tests.services.redis import redis_server

N_REPOS = 6


def enqueue(deployment: Deployment, hub: Hub, n_repos: int = N_REPOS) -> None:
    deployment.env["HOLDFAST_UPSTREAM_ALLOW"] = hub.address
    for n in range(n_repos):
        hub.add(f"org/model-{n}", {"config.json": b"{}", "weights.bin": bytes([n]) * 300_000})
        deployment.manage("mirror", f"hf+{hub.url}/org/model-{n}", "--enqueue")


def lose_every_message(deployment: Deployment) -> None:
    broker = deployment.env.get("HOLDFAST_BROKER", "")
    if broker.startswith("redis:"):
        port = broker.rsplit(":", 1)[1].split("/")[0]
        cli = Path(redis_server()).with_name("redis-cli")
        subprocess.run([cli, "-p", port, "FLUSHALL"], check=True, capture_output=True)
        return
    messages = Path(deployment.env["HOLDFAST_DATA"]) / "queue" / "messages"
    shutil.rmtree(messages)
    messages.mkdir()


def states(deployment: Deployment, kind: str = "mirror") -> list[str]:
    return [job["state"] for job in deployment.jobs() if job["kind"] == kind]


def test_losing_every_message_with_jobs_queued_and_running_loses_no_job(deployment: Deployment) -> None:
    with Hub() as hub:
        hub.fault("slow", path="weights.bin", rate=75_000)
        enqueue(deployment, hub)
        deployment.start_worker(concurrency=2)
        wait_for(lambda: "running" in states(deployment), what="a mirror job runs")
        lose_every_message(deployment)
        assert "queued" in states(deployment)
        jobs = deployment.wait_for_jobs(seconds=180)
    assert [job["state"] for job in jobs] == ["succeeded"] * len(jobs)
    assert states(deployment) == ["succeeded"] * N_REPOS
    deployment.manage("audit")


def test_jobs_wait_for_a_worker_that_comes_late(deployment: Deployment) -> None:
    with Hub() as hub:
        enqueue(deployment, hub, 3)
        lose_every_message(deployment)
        deployment.start_worker()
        jobs = deployment.wait_for_jobs()
    assert {job["state"] for job in jobs} == {"succeeded"}


def test_a_worker_told_to_end_gives_its_job_back_and_another_finishes_it(deployment: Deployment) -> None:
    """Promise: SIGTERM during a long download loses neither the job nor the bytes that were fetched."""
    with Hub() as hub:
        deployment.env["HOLDFAST_UPSTREAM_ALLOW"] = hub.address
        hub.add("org/large", {"weights.bin": bytes(60_000_000)})
        hub.fault("slow", path="weights.bin", rate=4_000_000, times=1)
        deployment.manage("mirror", f"hf+{hub.url}/org/large", "--enqueue")
        first = deployment.start_worker("first")
        # An S3 store keeps whole parts only, the first of them after 8 MiB.
        wait_for(lambda: deployment.jobs()[0]["bytes_done"] > 10_000_000, what="a good part of it came")
        assert first.stop(seconds=60) == 0
        assert states(deployment) == ["queued"]
        deployment.start_worker("second")
        jobs = deployment.wait_for_jobs()
        assert {job["state"] for job in jobs} == {"succeeded"}
        resumed = [seen.headers.get("range", "") for seen in hub.seen("resolve", "weights.bin")]
    assert resumed[0] in ("", "bytes=0-")
    assert any(header not in ("", "bytes=0-") for header in resumed[1:])


def test_two_workers_share_the_work_and_do_each_job_once(deployment: Deployment) -> None:
    with Hub() as hub:
        enqueue(deployment, hub)
        deployment.start_worker("first")
        deployment.start("worker", name="second")
        jobs = deployment.wait_for_jobs(seconds=180)
        fetched = len([seen for seen in hub.seen("resolve", "weights.bin") if seen.method == "GET"])
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert fetched == N_REPOS
