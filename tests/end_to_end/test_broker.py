"""The broker is only a nudge: flushing it, doubling its messages or taking it away loses nothing."""

import shutil
import subprocess
from pathlib import Path

from tests.services.deployment import Deployment
from tests.services.hub import Hub
from tests.services.processes import wait_for
from tests.services.redis import redis_server

N_REPOS = 4
SUBMIT = """
from mirror.sync import submit_mirror
from mirror.upstream import parse_upstream_ref
for n in range({n_repos}):
    submit_mirror(parse_upstream_ref("hf+{url}/org/model-%d" % n))
"""


def enqueue(deployment: Deployment, hub: Hub, n_repos: int = N_REPOS) -> None:
    deployment.env["HOLDFAST_UPSTREAM_ALLOW"] = hub.address
    for n in range(n_repos):
        hub.add(f"org/model-{n}", {"config.json": b"{}", "weights.bin": bytes([n]) * 300_000})
    deployment.manage("shell", "-v", "0", "-c", SUBMIT.format(n_repos=n_repos, url=hub.url))


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


def test_losing_every_message_with_jobs_queued_and_running_loses_no_job(deployment: Deployment) -> None:
    with Hub() as hub:
        hub.fault("slow", path="weights.bin", rate=75_000)
        enqueue(deployment, hub)
        deployment.start_worker(concurrency=2)
        wait_for(lambda: "running" in deployment.states("mirror"), what="a mirror job runs")
        lose_every_message(deployment)
        assert "queued" in deployment.states("mirror")
        jobs = deployment.wait_for_jobs(seconds=180)
    assert [job["state"] for job in jobs] == ["succeeded"] * len(jobs)
    assert deployment.states("mirror") == ["succeeded"] * N_REPOS
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
        wait_for(
            lambda: deployment.ask("SELECT max(bytes_done) FROM registry_job")[0][0] > 10_000_000,
            what="a good part of it came",
        )
        assert first.stop(seconds=60) == 0
        assert deployment.states("mirror") == ["queued"]
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
