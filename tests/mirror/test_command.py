"""`manage.py mirror` as a person at a shell meets it: real processes, real exit codes, no traceback."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.deployment import ROOT, Deployment
from tests.services.hub import Hub

WEIGHTS = bytes(range(256)) * 20_000
FILES: dict[str, bytes | Path] = {"config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.add("org/model", FILES)
        yield running


def refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> bool:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    return done.stdout == ""


def test_it_says_in_one_line_what_it_did(deployment: Deployment, hub: Hub) -> None:
    first = deployment.manage("mirror", f"hf+{hub.url}/org/model")
    assert first.stdout.count("\n") == 1
    assert first.stdout.startswith("mirrored org/model@")
    assert "2 files, 5.1 MB (2 files, 5.1 MB fetched)" in first.stdout
    assert "was held already" in deployment.manage("mirror", f"hf+{hub.url}/org/model").stdout


def test_machines_get_json_on_stdout_and_nothing_else(deployment: Deployment, hub: Hub) -> None:
    job = deployment.manage_json("mirror", f"hf+{hub.url}/org/model", "--as", "mine/copy")
    assert (job["state"], job["result"]["repo_id"]) == ("succeeded", "mine/copy")


@pytest.mark.one_backend
def test_help_explains_references_and_exit_codes(deployment: Deployment) -> None:
    text = deployment.manage("mirror", "--help").stdout
    assert all(word in text for word in ("hf://org/name", "dir:/path", "--enqueue", "Exit status", "130"))


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["org/model"], ["hf://org/name"]), (["dir:/no/such/folder"], ["is not a folder"]),
        (["hf://org/model", "--as", "x"], ["org/name"]),
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_2(
    deployment: Deployment, arguments: list[str], words: list[str]
) -> None:
    assert refused(deployment.manage("mirror", *arguments, check=False), 2, *words)


def test_a_failed_job_ends_with_1_and_names_code_object_and_next_step(
    deployment: Deployment, hub: Hub
) -> None:
    hub.fault("corrupt", path="model.safetensors", at=5)
    done = deployment.manage("mirror", f"hf+{hub.url}/org/model", check=False)
    assert refused(done, 1, "wrong-digest", "org/model@", "model.safetensors", "run the job again")
    done = deployment.manage("mirror", f"hf+{hub.url}/org/model", "--json", check=False)
    assert json.loads(done.stdout)["error_code"] == "wrong-digest"
    assert done.returncode == 1


def test_ctrl_c_keeps_what_arrived_and_the_next_run_goes_on(deployment: Deployment, hub: Hub) -> None:
    hub.fault("slow", path="model.safetensors", rate=1_000_000, times=1)
    service = deployment.start("mirror", f"hf+{hub.url}/org/model", name="mirror")
    service.wait_until(lambda: any(seen.path == "model.safetensors" for seen in hub.seen("resolve")))
    service.wait_until(lambda: has_staged(deployment))
    service.signal(signal.SIGINT)
    assert service.process.wait(20) == 130
    assert "interrupted" in service.tail()
    assert "Traceback" not in service.tail()
    assert "mirrored org/model@" in deployment.manage("mirror", f"hf+{hub.url}/org/model").stdout
    if keeps_files(deployment):  # an S3 server keeps whole parts only, and these are few bytes
        assert hub.seen("resolve", "model.safetensors")[-1].headers["range"].startswith("bytes=")


def test_enqueued_work_is_done_by_a_worker(deployment: Deployment, hub: Hub) -> None:
    done = deployment.manage("mirror", f"hf+{hub.url}/org/model", "--enqueue")
    assert "is queued" in done.stdout
    worker = deployment.start_worker()

    worker.wait_until(lambda: deployment.states("mirror")[0] not in ("queued", "running"))
    assert deployment.states("mirror") == ["succeeded"]


def test_a_full_disk_is_a_clear_failure_and_nothing_is_lost(deployment: Deployment, hub: Hub) -> None:
    """The limit on file size stands for the full disk: the fifth megabyte cannot be written."""
    if not keeps_files(deployment):
        pytest.skip("the S3 server writes its own files")
    limited = f'ulimit -f 4000; exec "$0" manage.py mirror hf+{hub.url}/org/model'
    python = str(ROOT / ".venv" / "bin" / "python")
    done = subprocess.run(
        ["bash", "-c", limited, python],
        env=deployment.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused(done, 1, "no-space", "org/model", "free some space")
    assert "mirrored org/model@" in deployment.manage("mirror", f"hf+{hub.url}/org/model").stdout


def keeps_files(deployment: Deployment) -> bool:
    return deployment.env["HOLDFAST_BLOBS"].startswith("file:")


def has_staged(deployment: Deployment) -> bool:
    """Something has arrived, as far as it can be seen from here."""
    folder = Path(deployment.env["HOLDFAST_BLOBS"].removeprefix("file://"))
    return not keeps_files(deployment) or any(
        path.stat().st_size for path in folder.glob("incoming/mirror-*")
    )
