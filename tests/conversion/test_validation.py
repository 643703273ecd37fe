"""A verdict is written down, what passed is published, what failed is not, and neither kills a worker."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry import work
from registry.models import Artifact, Commit, Event, Job, Lineage, Reading, Ref, Repo, Validation
from registry.validating import request_validation
from registry.work import run_job
from tests.checkpoints import read_folder, record_commit
from tests.conversion.artifacts import make_artifact, part_files, sample_commit
from tests.conversion.inference.ggufs import SAMPLES, with_metadata, with_zeros
from tests.services.disks import tiny_disk

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _engine(request, settings):
    """Torch takes seconds to import: one test here meets it, test_transformers.py the rest."""
    if "reference_is_named" not in request.node.name:
        settings.HOLDFAST_REFERENCE_ENGINE = "llama.cpp"


def validate(artifact: Artifact) -> Job:
    """The job's row after a worker ran it."""
    job = request_validation(artifact)
    run_job(job.pk)
    job.refresh_from_db()
    artifact.refresh_from_db()
    return job


def test_an_artifact_that_says_what_its_parent_says_is_published(converted):
    source = sample_commit(license="cc0-1.0")
    artifact = make_artifact(source, "Q8_0", converted("Q8_0"))
    job = validate(artifact)
    assert (job.state, job.result["verdict"], job.error_code) == ("succeeded", "verified", ""), (
        job.error_message
    )
    assert (artifact.state, artifact.published_in.commit_hash) == ("published", job.result["commit"])

    row = Validation.objects.get(artifact=artifact)
    assert (row.verdict, row.passed, row.engine) == ("verified", True, "llama.cpp (xllamacpp 2026.10.11549)")
    assert 0 < row.mean_kld < 0.005
    assert row.top1_agreement > 0.98
    assert row.perplexity_ratio == pytest.approx(1, abs=0.005)
    assert row.report["parent"]["commit_hash"] == source.commit_hash
    assert row.report["artifact"]["sha256"] == artifact.blob.sha256
    assert row.report["samples"][0]["artifact"].startswith("And it came to pass, and said, What is the king")

    derived = Repo.objects.get(repo_id="tinyfamily/base-f32-GGUF")
    assert derived.head == artifact.published_in == Ref.objects.get(repo=derived, name="main").commit
    edge = Lineage.objects.get(child=derived)
    assert (edge.relation, edge.parent_commit, edge.evidence) == ("quantized", source, "made_here")
    outcomes = Event.objects.filter(artifact=artifact).values_list("type", "outcome")
    assert sorted(outcomes) == [("publication", "success"), ("validation", "success")]


@pytest.mark.one_backend
def test_the_reference_is_named_and_is_the_exact_parent(converted):
    source = sample_commit()
    job = validate(make_artifact(source, "F16", converted("F16")))
    report = Validation.objects.get(pk=job.result["validation"]).report
    assert report["parent"]["repo_id"] == "tinyfamily/base-f32"
    assert report["parent"]["reference"] in (
        "our F32 GGUF of the same commit, in llama.cpp", "the checkpoint itself, in transformers",
    )  # fmt: skip
    assert report["limits"]["class"] == "cast"


@pytest.mark.one_backend
@pytest.mark.parametrize("full_at", ["the file", "its parent"])
def test_a_full_disk_is_told_leaves_nothing_and_is_tried_again(converted, tmp_path, settings, full_at):
    """Promise: no verdict is made up, and no half of a file stays, when there is no room to judge."""
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    data = settings.DATA
    with tiny_disk(tmp_path / "tiny", 1 if full_at == "the file" else 6) as settings.DATA:
        job = validate(artifact)
        assert (job.state, job.attempts, job.error_code) == ("queued", 1, "out-of-space"), job.error_message
        assert f"{settings.DATA}/work" in job.error_message
        assert "Make room and run it again" in job.error_message
        assert part_files(settings.DATA) == []
    assert not Validation.objects.exists()
    assert not Reading.objects.exists()
    assert artifact.state == "unvalidated"
    settings.DATA = data
    if full_at == "its parent":
        Job.objects.update(run_after=timezone.now())
        assert validate(artifact).result["verdict"] == "verified"


@pytest.mark.one_backend
def test_a_damaged_artifact_is_rejected_and_the_job_succeeds(converted, tmp_path):
    damaged = with_zeros(converted("Q8_0"), tmp_path / "zero.gguf", "blk.1.")
    artifact = make_artifact(sample_commit(), "Q8_0", damaged)
    job = validate(artifact)
    assert (job.state, job.result["verdict"], job.result["passed"]) == ("succeeded", "damaged", False)
    assert artifact.state == "rejected"
    assert "nothing but zeros, but the parent's is not" in Validation.objects.get().reason
    event = Event.objects.get(artifact=artifact)
    assert (event.type, event.outcome) == ("validation", "failure")
    assert not Repo.objects.filter(repo_id__endswith="-GGUF").exists()


@pytest.mark.one_backend
def test_a_hostile_header_does_not_hurt_the_worker(converted, tmp_path):
    source = sample_commit()
    hostile = with_metadata(converted("Q8_0"), tmp_path / "hostile.gguf", "llama.block_count", 10**9)
    first = validate(make_artifact(source, "Q8_0", hostile))
    assert first.result["verdict"] == "damaged"
    assert "1000000000 layers are announced, 3 are there" in first.result["reason"]
    assert validate(make_artifact(source, "F16", converted("F16"))).result["verdict"] == "verified"


@pytest.mark.one_backend
def test_the_quant_of_another_parent_is_not_verified(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0", "ft-gentle-bf16"))
    assert validate(artifact).result["verdict"] == "damaged"
    assert artifact.state == "rejected"


@pytest.mark.one_backend
def test_an_unknown_architecture_is_unsupported(converted, tmp_path):
    (tmp_path / "other.gguf").write_bytes(converted("Q8_0").read_bytes().replace(b"llama", b"lemma"))
    job = validate(make_artifact(sample_commit(), "Q8_0", tmp_path / "other.gguf"))
    assert (job.state, job.result["verdict"]) == ("succeeded", "unsupported")


def test_validating_again_adds_a_report_and_publishes_nothing_twice(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    validate(artifact)
    published_in = artifact.published_in
    assert validate(artifact).result["passed"] is True
    assert artifact.published_in == published_in
    assert artifact.validations.count() == 2
    assert Commit.objects.filter(repo__repo_id="tinyfamily/base-f32-GGUF").count() == 1


@pytest.mark.one_backend
def test_a_parent_that_cannot_be_run_fails_the_job_and_blames_nobody(converted):
    files = read_folder(SAMPLES / "base-f32")
    files.pop("config.json")
    artifact = make_artifact(record_commit("acme/bare", files), "Q8_0", converted("Q8_0"))
    job = validate(artifact)
    assert job.state == "failed"
    # By our own conversion, or by transformers where torch is installed.
    assert job.error_code in ("bad-config", "parent-not-run")
    assert "bare-Q8_0.gguf" in job.error_message
    assert artifact.state == "unvalidated"
    assert set(Validation.objects.values_list("verdict", "passed")) <= {("untested", False)}


def test_bytes_that_the_store_lost_fail_the_job_by_name(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    blob_store().delete(blob_key(artifact.blob.sha256))
    job = validate(artifact)
    assert (job.state, job.error_code) == ("failed", "key-missing")
    assert "base-f32-Q8_0.gguf" in job.error_message


@pytest.mark.one_backend
def test_a_worker_that_is_asked_to_stop_hands_the_job_on(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    work.stopping.set()
    try:
        assert validate(artifact).state == "queued"
    finally:
        work.stopping.clear()
    assert not Validation.objects.exists()
    assert validate(artifact).result["verdict"] == "verified"


def test_a_run_longer_than_a_slice_says_what_to_do(converted, settings):
    settings.HOLDFAST_SLICE_SECONDS = 0
    job = validate(make_artifact(sample_commit(), "Q8_0", converted("Q8_0")))
    assert (job.state, job.error_code) == ("failed", "validation-too-slow")
    assert "HOLDFAST_SLICE_SECONDS" in job.error_message


@pytest.mark.one_backend
def test_what_a_worker_has_no_memory_for_is_partial_and_stays_as_it_was(converted, settings):
    settings.HOLDFAST_ENGINE_MEMORY_BYTES = 9_000_000
    artifact = make_artifact(sample_commit(), "Q4_0", converted("Q4_0"))
    assert validate(artifact).state == "failed"
    row = Validation.objects.get(artifact=artifact)
    assert (row.verdict, row.passed, artifact.state) == ("partial", False, "unvalidated")
    assert row.reason.startswith("partial (first 2 of 3 layers): as far as it ran, mean KLD")
    assert row.mean_kld > 0


def test_nothing_is_left_in_the_work_folder_and_the_stores_bytes_are_as_they_were(converted):
    source = sample_commit()
    artifact = make_artifact(source, "Q8_0", converted("Q8_0"))
    validate(artifact)
    assert part_files(Path(settings.DATA) / "work") == []
    assert blob_store().read(blob_key(artifact.blob.sha256)) == converted("Q8_0").read_bytes()
    for file in source.files.select_related("blob"):
        assert (
            blob_store().read(blob_key(file.blob.sha256)) == (SAMPLES / "base-f32" / file.path).read_bytes()
        )


def test_an_artifact_that_is_gone_is_no_failure(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    job = request_validation(artifact)
    artifact.delete()
    run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.result["reason"]) == ("succeeded", "the artifact is gone")


@pytest.mark.one_backend
def test_progress_ends_at_the_size_of_the_artifact(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    job = validate(artifact)
    assert job.bytes_done == job.bytes_total == artifact.blob.size_bytes


# --- the command ------------------------------------------------------------------------------------------


def run_command(*arguments: str) -> str:
    out = StringIO()
    call_command("validate", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_judges_shows_and_publishes(converted):
    source = sample_commit()
    make_artifact(source, "Q8_0", converted("Q8_0"))
    make_artifact(source, "F16", converted("F16"))
    shown = run_command("tinyfamily/base-f32", "--report")
    assert shown.count("VERIFIED: says what its parent says") == 2
    assert "published in tinyfamily/base-f32-GGUF@" in shown
    assert shown.splitlines()[-1] == "2 of 2 files passed"


@pytest.mark.one_backend
def test_the_command_takes_a_type_a_number_or_the_derived_repo(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    for target in ("tinyfamily/base-f32:q8_0", "tinyfamily/base-f32@main:Q8_0", str(artifact.pk),
                   "tinyfamily/base-f32-GGUF"):  # fmt: skip
        (outcome,) = json.loads(run_command(target, "--json"))
        assert (outcome["verdict"], outcome["report"]["verdict"]) == ("verified", "verified")


@pytest.mark.one_backend
def test_a_settled_verdict_is_shown_until_a_new_one_is_asked_for(converted):
    artifact = make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    for arguments, n_verdicts in [((), 1), ((), 1), (("--again",), 2), ((), 2)]:
        assert "1 of 1 files passed" in run_command("tinyfamily/base-f32", *arguments)
        assert artifact.validations.count() == n_verdicts


@pytest.mark.one_backend
def test_the_command_exits_with_one_for_a_damaged_artifact(converted, tmp_path):
    make_artifact(sample_commit(), "Q8_0", with_zeros(converted("Q8_0"), tmp_path / "zero.gguf", "blk.1."))
    with pytest.raises(CommandError, match="1 of 1 files did not pass: base-f32-Q8_0") as end:
        run_command("tinyfamily/base-f32")
    assert end.value.returncode == 1


def test_the_command_hands_work_to_the_workers(converted):
    make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))
    assert "1 of 1 files queued" in run_command("tinyfamily/base-f32", "--enqueue")
    assert Job.objects.get(kind="validate").state == "queued"


@pytest.mark.parametrize(("target", "words"), [
    ("nobody/nothing", "there is no repo nobody/nothing here"),
    ("tinyfamily/base-f32@v9", "has no revision 'v9'"),
    ("tinyfamily/base-f32:Q4_K", "no such type here; there is Q8_0"),
    ("4711", "there is no artifact 4711"),
    ("nonsense", "is neither a number nor like"),
])  # fmt: skip
def test_the_command_says_what_there_is_instead(converted, target, words):
    make_artifact(sample_commit(), "Q8_0", b"bytes")
    with pytest.raises(CommandError, match=words) as end:
        run_command(target)
    assert end.value.returncode == 2
