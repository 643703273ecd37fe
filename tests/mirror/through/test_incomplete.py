"""A commit of which only upstream has some files: what pages, audits, conversions and verdicts make of it."""

import hashlib

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from mirror.fixity import audit
from mirror.store import blob_store
from registry.models import AccessToken, Commit, Job
from registry.work import run_job, submit
from tests.mirror.through.conftest import WEIGHTS
from tests.services.hub import Hub

GGUF = b"GGUF" + bytes(2_000)


@pytest.fixture
def commit(through: Client, hub: Hub) -> Commit:
    """One small file is held, the GGUF is not."""
    hub.add("org/model", {"README.md": b"# A model\n", "deep/a.txt": b"a", "model-Q4_0.gguf": GGUF,
                          "model.safetensors": WEIGHTS})  # fmt: skip
    b"".join(through.get("/org/model/resolve/main/README.md").streaming_content)  # type: ignore[attr-defined]
    return Commit.objects.select_related("repo").get()


@pytest.mark.parametrize(
    "path",
    ["", "/tree/main", "/blob/main/model-Q4_0.gguf", "/blob/main/deep/a.txt", "/tensors/main", "/validation",
     "/commits", "/lineage"],
)  # fmt: skip
def test_pages_are_shown(through: Client, commit: Commit, path: str) -> None:
    assert through.get(f"/org/model{path}").status_code == 200


def test_pages_say_what_only_upstream_has(through: Client, commit: Commit) -> None:
    tree = through.get("/org/model/tree/main").content.decode()
    assert tree.count("only upstream") >= 3
    file = through.get("/org/model/blob/main/model-Q4_0.gguf").content.decode()
    assert "Only upstream has this file yet" in file
    assert hashlib.sha256(GGUF).hexdigest() in file
    assert (
        "not known before the bytes are here"
        in through.get("/org/model/blob/main/deep/a.txt").content.decode()
    )
    assert "Only upstream" not in through.get("/org/model/blob/main/README.md").content.decode()


def test_a_verdict_on_it_is_refused_in_words(through: Client, commit: Commit, alice: User) -> None:
    _, token = AccessToken.issue(alice, name="test", write=True)
    answer = through.post(
        "/api/holdfast/v1/validate", {"repo": "org/model", "path": "model-Q4_0.gguf"},
        content_type="application/json", headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    assert answer.status_code == 409
    assert "only upstream has" in answer.json()["error"]
    assert not Job.objects.filter(kind="validate").exists()


def test_a_conversion_of_it_is_refused_in_words(commit: Commit) -> None:
    with pytest.raises(
        CommandError, match=r"commit-incomplete: .*only upstream has deep/a.txt and 2 more files"
    ):
        call_command("convert", "org/model", "--to", "Q8_0")
    job = submit("convert", key="x", label="convert", params={"commit": commit.pk, "recipes": []})
    run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "commit-incomplete")


def test_an_audit_misses_no_manifest_of_it(commit: Commit) -> None:
    report = audit(blob_store())
    assert report.findings == []
