"""An artifact is made again bit for bit, let go only when that was seen, and comes back as it was when asked for."""

from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from conversion.convert import submit_conversion
from conversion.naming.overrides import Overrides
from conversion.recipes import Choice
from conversion.reproduce import NotEvictable, evict_artifact, submit_reproduction
from mirror.blobs.keys import blob_key
from mirror.fixity.audit import audit
from mirror.store import blob_store
from registry.models import Artifact, Blob, Commit, Event, File, Job
from registry.work import cancel, run_job
from tests.checkpoints import record_commit, store_blob
from tests.conversion.naming.models import config, write_checkpoint

pytestmark = pytest.mark.django_db(transaction=True)
TWENTY = [
    *(
        Choice.of(name)
        for name in ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S")
    ),
    *(Choice.of(name) for name in ("Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_M", "Q2_K", "TQ1_0", "TQ2_0")),
    Choice(Choice.of("Q4_K_M").file_type, Overrides(output="Q8_0", token_embedding="Q5_0")),
    Choice(Choice.of("Q8_0").file_type, Overrides(tensor_types=(("ffn_down", "F16"),))),
]


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    write_checkpoint(
        tmp_path / "small", config(hidden_size=256, intermediate_size=256, num_attention_heads=4)
    )
    return record_commit("acme/small", tmp_path / "small")


def work_on(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


def make(commit: Commit, *choices: Choice) -> list[Artifact]:
    job = work_on(submit_conversion(commit, *choices))
    assert job.state == "succeeded", job.error_message
    for waiting in Job.objects.filter(kind="validate", state="queued"):
        cancel(waiting.pk)
    numbers = [one["artifact"] for one in job.result["artifacts"]]
    return list(Artifact.objects.select_related("blob", "recipe", "source__repo").filter(pk__in=numbers))


def evicted(commit: Commit) -> Artifact:
    (artifact,) = make(commit, Choice.of("Q4_0"))
    assert work_on(submit_reproduction(artifact)).state == "succeeded"
    artifact.refresh_from_db()
    assert evict_artifact(artifact) == artifact.blob.size_bytes
    artifact.blob.refresh_from_db()
    return artifact


@pytest.mark.one_backend
def test_twenty_artifacts_of_one_pass_are_reproduced_bit_for_bit(commit: Commit) -> None:
    artifacts = make(commit, *TWENTY)
    assert len({artifact.blob.sha256 for artifact in artifacts}) == len(TWENTY) == 20
    for artifact in artifacts:
        job = work_on(submit_reproduction(artifact))
        assert (job.state, job.result.get("identical")) == ("succeeded", True), job.error_message
        assert (job.bytes_done, job.bytes_total) == (artifact.blob.size_bytes,) * 2
    assert Artifact.objects.filter(reproduced_at=None).count() == 0
    assert (
        Event.objects.filter(type="fixity check", outcome="success", summary__startswith="reproduced").count()
        == 20
    )


def test_one_changed_byte_is_found_and_the_tensor_named(commit: Commit) -> None:
    (artifact,) = make(commit, Choice.of("Q8_0"))
    data = bytearray(blob_store().read(blob_key(artifact.blob.sha256)))
    data[-1000] ^= 1
    Artifact.objects.filter(pk=artifact.pk).update(blob=store_blob(bytes(data)))
    job = work_on(submit_reproduction(artifact))
    assert (job.state, job.error_code) == ("failed", "not-reproducible")
    assert "differ, in " in job.error_message
    artifact.refresh_from_db()
    assert artifact.reproduced_at is None
    with pytest.raises(NotEvictable, match=r"manage\.py reproduce"):
        evict_artifact(artifact)


def test_a_reproduction_goes_on_after_its_slice(commit: Commit, settings: object) -> None:
    (artifact,) = make(commit, Choice.of("Q8_0"))
    settings.HOLDFAST_SLICE_SECONDS = 0
    job = work_on(submit_reproduction(artifact))
    assert (job.state, job.checkpoint["compared"] > 0) == ("queued", True)
    settings.HOLDFAST_SLICE_SECONDS = 900
    assert work_on(job).result["identical"] is True


def test_an_evicted_artifact_is_rebuilt_when_its_file_is_asked_for(commit: Commit, client: Client) -> None:
    artifact = evicted(commit)
    store, key = blob_store(), blob_key(artifact.blob.sha256)
    assert (artifact.blob.state, store.stat(key)) == ("evicted", None)
    derived = record_commit("acme/small-GGUF", {"README.md": b"made here"})
    File.objects.create(
        commit=derived, path=artifact.path, blob=artifact.blob, size_bytes=artifact.blob.size_bytes,
        git_oid="0" * 40, is_lfs=True, lfs_sha256=artifact.blob.sha256,
    )  # fmt: skip
    Artifact.objects.filter(pk=artifact.pk).update(state="published", published_in=derived)
    address = f"/acme/small-GGUF/resolve/main/{artifact.path}"
    for _ in range(2):
        answer = client.get(address)
        assert (answer.status_code, answer["X-Error-Code"]) == (503, "BytesRebuilding")
        assert int(answer["Retry-After"]) > 0
    job = work_on(Job.objects.get(kind="rebuild"))
    assert (job.state, job.result["sha256"]) == ("succeeded", artifact.blob.sha256)
    answer = client.get(address)
    data = answer.getvalue() if answer.status_code == 200 else store.read(key)
    assert answer.status_code in (200, 302)
    assert len(data) == artifact.blob.size_bytes


def test_a_rebuild_of_other_bytes_stores_nothing(commit: Commit) -> None:
    artifact = evicted(commit)
    true = artifact.blob.sha256
    Blob.objects.filter(pk=artifact.blob.pk).update(sha256="ab" * 32)
    from registry.evicted import request_rebuild

    artifact.blob.refresh_from_db()
    job = work_on(request_rebuild(artifact.blob))
    assert (job.state, job.error_code) == ("failed", "not-reproducible")
    assert blob_store().stat(blob_key(true)) is None
    artifact.blob.refresh_from_db()
    assert artifact.blob.state == "evicted"


def test_what_must_stay_is_not_evicted(commit: Commit) -> None:
    (artifact,) = make(commit, Choice.of("F16"))
    with pytest.raises(NotEvictable) as refused:
        evict_artifact(artifact)
    assert refused.value.code == "not-reproduced"
    Artifact.objects.update(reproduced_at=timezone.now() - timedelta(days=91))
    artifact.refresh_from_db()
    with pytest.raises(NotEvictable) as refused:
        evict_artifact(artifact)
    assert refused.value.code == "not-reproduced"
    Artifact.objects.update(reproduced_at=timezone.now())
    artifact.refresh_from_db()
    weights = commit.files.get(path="model.safetensors").blob
    Blob.objects.filter(pk=weights.pk).update(state="damaged")
    with pytest.raises(NotEvictable) as refused:
        evict_artifact(artifact)
    assert refused.value.code == "source-incomplete"
    assert blob_store().stat(blob_key(artifact.blob.sha256)) is not None


def test_an_audit_takes_evicted_bytes_for_what_they_are(commit: Commit) -> None:
    artifact = evicted(commit)
    report = audit(blob_store())
    assert [finding for finding in report.findings if artifact.blob.sha256 in finding.key] == []


def test_the_command_reproduces_evicts_and_says_so(commit: Commit) -> None:
    make(commit, Choice.of("Q8_0"), Choice.of("Q4_0"))
    out = StringIO()
    call_command("reproduce", "acme/small", stdout=out)
    assert "2 of 2 artifacts reproduced bit for bit" in out.getvalue()
    call_command("reproduce", "acme/small:Q4_0", "--evict", stdout=out)
    assert "small-Q4_0.gguf: evicted" in out.getvalue()
    call_command("reproduce", "acme/small:Q4_0", stdout=out)
    assert "is evicted already; asking for it rebuilds it" in out.getvalue()
    with pytest.raises(CommandError, match="no such type here"):
        call_command("reproduce", "acme/small:Q2_K", stdout=out)


def test_a_gguf_repo_is_requantised_only_when_that_is_allowed(commit: Commit) -> None:
    half, eight = make(commit, Choice.of("F16"), Choice.of("Q8_0"))
    files = {artifact.path: blob_store().read(blob_key(artifact.blob.sha256)) for artifact in (half, eight)}
    several = record_commit("acme/several", files)
    job = work_on(submit_conversion(several, Choice.of("Q4_0")))
    assert (job.state, job.error_code) == ("failed", "source-ambiguous")
    kind = Choice.of("Q4_0").file_type
    job = work_on(submit_conversion(several, Choice(kind, source_path=eight.path)))
    assert (job.state, job.error_code) == ("failed", "requantising-not-allowed")
    (from_half,) = make(several, Choice(kind, source_path=half.path))
    (again,) = make(several, Choice(kind, source_path=eight.path, requantises=True))
    assert from_half.blob.sha256 != again.blob.sha256
    tensors = [
        np.frombuffer(blob_store().read(blob_key(one.blob.sha256)), np.uint8) for one in (from_half, again)
    ]
    assert len(tensors[0]) < len(tensors[1]), "a requantised file says so in its metadata"
