"""A worker killed with SIGKILL at random instants of converting loses nothing and makes nothing twice.

`KILLS` times (3; `make soak`: 100) a real worker process is killed at a random moment while a convert job of its runs.
Then one is left alone, and the result must be that of a service which was never disturbed. The seed is printed;
KILL_SEED repeats a run as far as scheduling allows.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conversion.naming.models import config, write_checkpoint
from tests.services.deployment import Deployment

KILLS = int(os.environ.get("CONVERT_KILLS") or 3)
SOAK_KILLS = int(os.environ.get("SOAK_CONVERT_KILLS", "100"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
LONGEST_SECONDS = 1.5  # of a worker's life after it began to convert; one file takes about as long
FILE_TYPES = "F32,F16,Q8_0,Q4_0"
PATIENT = {
    "HOLDFAST_MAX_ATTEMPTS": "100000",
    "HOLDFAST_LEASE_SECONDS": "1.5",
    "HOLDFAST_HEARTBEAT_SECONDS": "0.3",
}
# 20 million parameters: 40 MB of BF16, and 150 MB of artifacts.
SHAPE = config(
    vocab_size=8192, hidden_size=768, intermediate_size=2048, num_attention_heads=8, num_key_value_heads=4
)

# Runs inside `manage.py shell`: everything that may not depend on how often somebody was killed.
DUMP = """
import hashlib, json
from mirror.store import blob_store
from registry.models import Artifact, Blob, Event, Job
store = blob_store()
def digest(key):
    sha256 = hashlib.sha256()
    with store.open(key) as reader:
        while piece := reader.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()
jobs = Job.objects.filter(kind="convert")
print("DUMP" + json.dumps({
    "artifacts": sorted(map(list, Artifact.objects.values_list(
        "source__repo__repo_id", "recipe__name", "path", "state", "blob__sha256", "blob__size_bytes"))),
    "events": sorted(map(list, Event.objects.filter(type="migration").values_list("repo__repo_id", "artifact__path"))),
    "validations": Job.objects.filter(kind="validate").count(),
    "states": sorted(set(jobs.values_list("state", flat=True))),
    "blobs": sorted(map(list, Blob.objects.values_list("sha256", "size_bytes", "state"))),
    "stored": sorted([stat.key, digest(stat.key)] for stat in store.list("blobs/")),
    "staged": [stat.key for stat in store.staged_names()],
    "attempts": sum(jobs.values_list("attempts", flat=True)),
}))
"""


def add_model(deployment: Deployment, folder: Path, number: int) -> None:
    """A checkpoint of its own is mirrored, and its conversions are queued."""
    model = folder / f"model-{number}"
    if not model.exists():
        write_checkpoint(model, SHAPE | {"rms_norm_eps": 1e-5 + number * 1e-6}, dtype="BF16", seed=number)
    deployment.manage("mirror", f"dir:{model}", "--as", f"org/model-{number}")
    deployment.manage("convert", f"org/model-{number}", "--to", FILE_TYPES, "--enqueue")


def ask(deployment: Deployment, what: str) -> int:
    """A figure of the convert jobs."""
    ((figure,),) = deployment.ask(f"SELECT {what} FROM registry_job WHERE kind = 'convert'")
    return int(figure or 0)


def n_waiting(deployment: Deployment) -> int:
    return ask(deployment, "sum(CASE WHEN finished_at IS NULL THEN 1 ELSE 0 END)")


def n_claims(deployment: Deployment) -> int:
    """Grows by one whenever a worker takes up a job."""
    return ask(deployment, "sum(fence)")


def start_worker(deployment: Deployment, name: str) -> Any:
    return deployment.start("worker", "--queues", "convert,light", "--with-scheduler", name=name)


def kill_at_random(deployment: Deployment, chance: random.Random, number: int) -> None:
    """A worker starts, begins to convert, and is killed a random moment later."""
    before = n_claims(deployment)
    worker = start_worker(deployment, f"killed-{number}")
    worker.wait_until(lambda: n_claims(deployment) > before, seconds=90)
    time.sleep(chance.uniform(0, LONGEST_SECONDS))
    worker.kill()


def dump(deployment: Deployment) -> dict[str, Any]:
    printed = deployment.manage("shell", "-v", "0", "-c", DUMP).stdout
    return dict(json.loads(printed[printed.index("DUMP") + 4 :]))


def torture(folder: Path, n_kills: int) -> None:
    chance, n_models = random.Random(SEED), 0
    with Deployment(folder / "killed", **PATIENT) as deployment:
        for number in range(n_kills):
            if n_waiting(deployment) < 2:
                add_model(deployment, folder, n_models)
                n_models += 1
            kill_at_random(deployment, chance, number)
        start_worker(deployment, "survivor").wait_until(lambda: n_waiting(deployment) == 0, seconds=240)
        killed = dump(deployment)
        deployment.manage("audit")
    with Deployment(folder / "calm", **PATIENT) as deployment:
        for number in range(n_models):
            add_model(deployment, folder, number)
        start_worker(deployment, "calm").wait_until(lambda: n_waiting(deployment) == 0, seconds=240)
        calm = dump(deployment)
    check(killed, calm, n_models)


def check(killed: dict[str, Any], calm: dict[str, Any], n_models: int) -> None:
    n_artifacts = n_models * len(FILE_TYPES.split(","))
    assert killed.pop("attempts") > calm.pop("attempts") == n_models, "no worker died while it converted"
    assert (killed["states"], killed["staged"]) == (["succeeded"], [])
    assert len(killed["artifacts"]) == killed["validations"] == n_artifacts
    assert all(key.endswith(digest) for key, digest in killed["stored"]), "a blob is not what its name says"
    assert {digest for _, digest in killed["stored"]} == {row[0] for row in killed["blobs"]}
    assert killed == calm


@pytest.mark.timeout(900)
def test_artifacts_equal_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    print(f"KILL_SEED={SEED}")  # shown when the test fails
    torture(tmp_path, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_artifacts_equal_those_of_an_undisturbed_run_after_a_hundred_kills(tmp_path: Path) -> None:
    print(f"KILL_SEED={SEED}")
    torture(tmp_path, SOAK_KILLS)
