"""The whole journey by the shell, with real workers: mirror, inspect, convert, validate, publish, pull, audit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.deployment import ROOT, Deployment

SAMPLE = ROOT / "deploy" / "samples" / "tinyfamily" / "base-f32"
HOLDFAST = Path(sys.executable).parent / "holdfast"


def pull(deployment: Deployment, url: str, reference: str, home: Path) -> Path:
    """Where the client put what it pulled; its last line."""
    done = subprocess.run(
        [HOLDFAST, "-i", url, "pull", reference, "--yes"],
        env=deployment.env | {"HF_HOME": str(home)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def test_a_model_goes_from_a_folder_to_a_verified_pull_that_speaks(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.manage("mirror", f"dir:{SAMPLE}", "--as", "tinyfamily/base")
    deployment.start_worker()
    deployment.manage("convert", "tinyfamily/base", "--to", "F16,Q8_0,Q4_0", "--enqueue")
    jobs = deployment.wait_for_jobs(seconds=240)
    assert {(job["label"], job["state"]) for job in jobs if job["state"] != "succeeded"} == set()
    assert {job["kind"] for job in jobs} == {"mirror", "inspect", "convert", "validate"}

    verdicts = deployment.manage_json("validate", "tinyfamily/base")
    assert {(row["recipe"], row["verdict"]) for row in verdicts} == {
        ("F16", "verified"), ("Q8_0", "verified"), ("Q4_0", "verified"),
    }  # fmt: skip
    deployment.manage("audit")

    file = pull(deployment, deployment.start_web(), "tinyfamily/base:Q8_0", tmp_path / "home")
    said = subprocess.run(
        [sys.executable, "-m", "conversion.inference", str(file), "--prompt", "And it came to pass", "--json"],
        env=deployment.env, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(said.stdout)["text"].startswith(
        ", and said, What is the king, and took the king of Judah"
    )


@pytest.mark.one_backend
def test_everything_said_twice_has_nothing_to_do(deployment: Deployment) -> None:
    for _ in range(2):
        deployment.manage("mirror", f"dir:{SAMPLE}", "--as", "tinyfamily/base")
        deployment.manage("convert", "tinyfamily/base", "--to", "Q8_0")
        deployment.manage("validate", "tinyfamily/base")
    converted = [job for job in deployment.jobs() if job["kind"] == "convert"]
    assert len(converted) <= 2
    assert len({job["result"].get("artifact") for job in converted}) == 1


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("mirror", "dir:/no/such/folder"), "/no/such/folder"),
        (("mirror", "ftp://somewhere/else"), "hf://"),
        (("convert", "nobody/nothing", "--to", "Q8_0"), "nobody/nothing"),
        (("validate", "nobody/nothing"), "nobody/nothing"),
        (("jobs", "retry", "12345"), "12345"),
    ],
)
def test_a_mistake_is_a_sentence_and_an_exit_status_never_a_traceback(
    deployment: Deployment, arguments: tuple[str, ...], expected: str
) -> None:
    done = deployment.manage(*arguments, check=False)
    assert done.returncode in (1, 2)
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.one_backend
def test_an_unknown_recipe_lists_what_there_is(deployment: Deployment) -> None:
    deployment.manage("mirror", f"dir:{SAMPLE}", "--as", "tinyfamily/base")
    done = deployment.manage("convert", "tinyfamily/base", "--to", "Q9_9", check=False)
    assert done.returncode in (1, 2)
    assert "Q8_0" in done.stderr
