"""A worker killed with SIGKILL at random instants of mirroring loses nothing and publishes nothing twice.

KILLS times (6; SOAK_KILLS, 200, in `make soak`) a real worker process is killed at a random moment while it mirrors.
Then one is left alone, and the result must be that of a service which was never disturbed. The seed is printed;
KILL_SEED repeats a run as far as scheduling allows.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.deployment import Deployment
from tests.services.hub import Hub

# On PostgreSQL and S3 a start takes longer, and what is proven is the same.
KILLS = int(os.environ.get("KILLS") or (4 if "HOLDFAST_TEST_STORE_URL" in os.environ else 6))
SOAK_KILLS = int(os.environ.get("SOAK_KILLS", "200"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
REPOS_PER_ROUND, KILLS_PER_ROUND = 6, 3
IDLE_SECONDS = (
    20.0  # longer than a lease and a sweep: a worker that asks for nothing by then has nothing to do
)
LONGEST_SECONDS = 1.2  # of a worker's life after it began to fetch; a repo takes about half of it
PATIENT = {
    "HOLDFAST_MAX_ATTEMPTS": "100000",
    "HOLDFAST_LEASE_SECONDS": "1.5",
    "HOLDFAST_HEARTBEAT_SECONDS": "0.3",
}

# Runs inside `manage.py shell`: everything that may not depend on how often somebody was killed.
DUMP = """
import hashlib, json
from django.utils import timezone
from mirror.blobs.store import blob_key
from mirror.store import blob_store
from registry.models import Blob, Commit, Event, File, Job, Ref, Repo
store = blob_store()
def digest(key):
    sha256 = hashlib.sha256()
    with store.open(key) as reader:
        while piece := reader.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()
def manifest(commit):
    data = store.read(commit.manifest_key)
    assert hashlib.sha256(data).hexdigest() == commit.manifest_sha256, commit
    return {**json.loads(data), "recorded_at": None}
commits = Commit.objects.select_related("repo").order_by("repo__repo_id", "commit_hash")
told = {
    "commits": [[c.repo.repo_id, c.commit_hash, c.n_files, c.size_bytes, c.title] for c in commits],
    "manifests": [manifest(c) for c in commits],
    "files": sorted(map(list, File.objects.values_list("commit__commit_hash", "commit__repo__repo_id", "path",
                                                       "blob__sha256", "size_bytes", "git_oid", "is_lfs"))),
    "blobs": sorted(map(list, Blob.objects.values_list("sha256", "size_bytes", "state"))),
    "refs": sorted(map(list, Ref.objects.values_list("repo__repo_id", "kind", "name", "commit__commit_hash"))),
    "heads": sorted(map(list, Repo.objects.values_list("repo_id", "head__commit_hash"))),
    "ingestions": sorted(map(list, Event.objects.filter(type="ingestion").values_list("repo__repo_id"))),
    "inspections": Job.objects.filter(kind="inspect").count(),
    "states": sorted(set(Job.objects.filter(kind="mirror").values_list("state", flat=True))),
    "stored": sorted([stat.key, digest(stat.key)] for stat in store.list("blobs/")),
    "bucket": sorted(stat.key for stat in store.list("commits/")),
    "staged": [stat.key for stat in store.staged_names()],
}
store.discard_abandoned(timezone.now())
told["unswept"] = [stat.key for stat in store.staged_names()]
print("DUMP" + json.dumps(told))
"""

SUBMIT = """
from mirror.sync import submit_mirror
from mirror.upstream import parse_upstream_ref
for name in {names!r}:
    submit_mirror(parse_upstream_ref("hf+{url}/" + name))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(page_size=3) as running:
        yield running


def add_repo(hub: Hub, number: int) -> str:
    """A repo of which half is shared with its neighbour, large enough that fetching it takes a moment."""
    name = f"org/model-{number}"
    own, shared = random.Random(number), random.Random(number // 2 + 10_000)
    hub.add(name, {
        "README.md": f"# {name}".encode(),
        "config.json": b'{"same": "everywhere"}',
        "model-00001-of-00002.safetensors": shared.randbytes(1_500_000),
        "model-00002-of-00002.safetensors": own.randbytes(1_500_000),
        "deep/notes.txt": own.randbytes(5_000).hex().encode(),
    })  # fmt: skip
    return name


def submit(deployment: Deployment, hub: Hub, names: list[str]) -> None:
    deployment.manage("shell", "-v", "0", "-c", SUBMIT.format(names=names, url=hub.url))


def dump(deployment: Deployment) -> dict[str, Any]:
    printed = deployment.manage("shell", "-v", "0", "-c", DUMP).stdout
    return dict(json.loads(printed[printed.index("DUMP") + 4 :]))


def is_waiting(deployment: Deployment) -> bool:
    return not {"queued", "running"}.isdisjoint(deployment.states("mirror"))


def is_done(deployment: Deployment, hub: Hub) -> bool:
    """Nothing waits, and the hub is left alone."""
    before = len(hub.requests)
    return not is_waiting(deployment) and len(hub.requests) == before


def start_worker(deployment: Deployment, name: str) -> Any:
    return deployment.start("worker", "--queues", "io,light", "--with-scheduler", name=name)


def kill_at_random(deployment: Deployment, hub: Hub, chance: random.Random, number: int) -> None:
    """A worker starts, begins to fetch, and is killed a random moment later."""
    before = len(hub.requests)
    worker = start_worker(deployment, f"killed-{number}")
    started = time.monotonic()
    worker.wait_until(
        lambda: len(hub.requests) > before or time.monotonic() - started > IDLE_SECONDS, seconds=90
    )
    time.sleep(chance.uniform(0, LONGEST_SECONDS))
    worker.kill()


def torture(folder: Path, hub: Hub, n_kills: int) -> None:
    chance = random.Random(SEED)
    names: list[str] = []
    hub.fault("slow", path="*.safetensors", rate=6_000_000)
    hub.fault("cut", path="*.safetensors", at=700_000, after=5, times=n_kills // 4)
    with Deployment(folder / "killed", **PATIENT) as deployment:
        for number in range(n_kills):
            if number % KILLS_PER_ROUND == 0:
                new = [add_repo(hub, len(names) + n) for n in range(REPOS_PER_ROUND)]
                submit(deployment, hub, new)
                names += new
            kill_at_random(deployment, hub, chance, number)
        start_worker(deployment, "survivor").wait_until(lambda: is_done(deployment, hub), seconds=600)
        killed = dump(deployment)
        deployment.manage("audit")  # hashes all of it again; a finding is a non-zero exit
    hub.heal()
    with Deployment(folder / "calm", **PATIENT) as deployment:
        submit(deployment, hub, names)
        start_worker(deployment, "calm").wait_until(lambda: is_done(deployment, hub), seconds=600)
        calm = dump(deployment)
    assert killed["states"] == ["succeeded"]
    # The name of a manifest that was being put when the worker died; it is nobody's, and goes with the next sweep.
    assert [key for key in killed.pop("staged") if not key.startswith("incoming/put-")] == []
    assert calm.pop("staged") == []
    assert killed["unswept"] == []
    assert [[key.rpartition("/")[2], digest] for key, digest in killed["stored"]] == [
        [digest, digest] for _, digest in killed["stored"]
    ], "a stored blob is not what its name says"
    assert {digest for _, digest in killed["stored"]} == {row[0] for row in killed["blobs"]}
    assert len(killed["commits"]) == len(names)
    assert killed == calm


@pytest.mark.timeout(900)
def test_results_equal_those_of_an_undisturbed_run(tmp_path: Path, hub: Hub) -> None:
    print(f"KILL_SEED={SEED}")  # shown when the test fails
    torture(tmp_path, hub, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_results_equal_those_of_an_undisturbed_run_after_hundreds_of_kills(tmp_path: Path, hub: Hub) -> None:
    print(f"KILL_SEED={SEED}")
    torture(tmp_path, hub, SOAK_KILLS)


@pytest.mark.timeout(300)
def test_a_killed_shell_command_is_taken_over_by_the_next_one(tmp_path: Path, hub: Hub) -> None:
    name = add_repo(hub, 1)
    hub.fault("slow", path="*.safetensors", rate=1_000_000, times=2)
    with Deployment(tmp_path / "shell", **PATIENT) as deployment:
        service = deployment.start("mirror", f"hf+{hub.url}/{name}", name="mirror")
        service.wait_until(lambda: bool(hub.seen("resolve", "*.safetensors")))
        service.kill()
        assert f"mirrored {name}@" in deployment.manage("mirror", f"hf+{hub.url}/{name}").stdout
        (job,) = [job for job in deployment.jobs() if job["kind"] == "mirror"]
        assert (job["state"], job["attempts"]) == ("succeeded", 2)
