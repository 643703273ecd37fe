"""Files that others published are judged against the base that we hold, once each, and the closest comes first."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from conversion.inference.limits import read_limits
from conversion.inference.selftest import library_digest
from conversion.revalidation import stale_validations, submit_stale, sweep_stale
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.gates import save_gate
from registry.models import Artifact, Commit, Event, Job, Lineage, Reading, Upstream, Validation, Yardstick
from registry.overrides import grant_override, withdraw_override
from registry.validating import (
    request_children,
    request_file_validation,
    request_mirrored,
    request_validation,
)
from registry.verdicts import verdict_rows
from registry.work import run_job
from tests.checkpoints import ensure_repo, read_folder, record_commit
from tests.conversion.artifacts import make_artifact, sample_commit
from tests.conversion.inference.packing import write_gptq

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _engine(settings: Any) -> None:
    settings.HOLDFAST_REFERENCE_ENGINE = "llama.cpp"


def mirrored(repo_id: str, files: dict[str, Any], base: Commit | None = None) -> Commit:
    """A commit copied from a hub whose card declares that base."""
    hub, _ = Upstream.objects.get_or_create(kind="huggingface", endpoint="https://hub.example")
    ensure_repo(repo_id, upstream=hub, upstream_repo_id=repo_id)
    commit = record_commit(repo_id, files, inspected_at="2026-01-02T00:00:00Z")
    if base:
        Lineage.objects.create(child=commit.repo, parent=base.repo, parent_repo_id=base.repo.repo_id,
                               relation="quantized", evidence="declared")  # fmt: skip
    return commit


def worked_on(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


def test_two_files_of_one_type_are_told_apart_and_the_parent_is_read_once(
    converted: Any, client: Client
) -> None:
    base = sample_commit()
    good, bad = converted("Q8_0"), converted("Q8_0", "ft-gentle-bf16")
    quants = mirrored("someone/tiny-GGUF", {"tiny-Q8_0.gguf": good, "other/tiny.Q8_0.gguf": bad}, base)
    jobs = [worked_on(job) for job in request_mirrored(quants)]
    assert {job.result["path"]: job.result["verdict"] for job in jobs} == {
        "tiny-Q8_0.gguf": "verified", "other/tiny.Q8_0.gguf": "damaged",
    }, [job.error_message for job in jobs]  # fmt: skip
    assert (Reading.objects.count(), Yardstick.objects.count()) == (1, 1)
    row = Validation.objects.get(path="tiny-Q8_0.gguf")
    assert (row.artifact, row.parent, row.passed) == (None, base, True)
    yardstick = Yardstick.objects.get()
    assert (yardstick.file_type, yardstick.mean_kld) == ("Q8_0", pytest.approx(row.mean_kld))
    assert row.report["parent"]["reading"] == Reading.objects.get().blob.sha256
    assert Event.objects.get(blob=row.blob, type="validation").repo == quants.repo
    assert request_mirrored(quants) == request_children(base.repo) == []

    rows = verdict_rows(base.repo, base, AnonymousUser())
    assert [(one.repo.repo_id, one.verdict) for one in rows] == [
        ("someone/tiny-GGUF", "verified"), ("someone/tiny-GGUF", "damaged"),
    ]  # fmt: skip
    listed = client.get("/api/holdfast/v1/validations/tinyfamily/base-f32").json()
    assert [one["newest"]["report_sha256"] for one in listed] == [
        one.validation.report_sha256 for one in rows if one.validation
    ]
    bytes_ = client.get(f"/api/holdfast/v1/reports/{row.report_sha256}").content
    assert bytes_ == blob_store().read(blob_key(str(row.report_sha256)))


@pytest.mark.one_backend
def test_our_own_plain_quant_is_the_yardstick_and_needs_no_second_one(converted: Any) -> None:
    base = sample_commit()
    artifact = make_artifact(base, "Q8_0", converted("Q8_0"))
    save_gate("tinyfamily/base-f32-gguf", publish=[], pull=None)
    job = worked_on(request_validation(artifact))
    assert (job.result["verdict"], job.result["passed"]) == ("verified", False)
    row = Validation.objects.get()
    assert row.report["yardstick"] == {
        "file_type": "Q8_0", "converter": "holdfast-conversion/2", "figures": None,
    }  # fmt: skip
    assert Yardstick.objects.get().mean_kld == row.mean_kld
    quants = mirrored("someone/tiny-GGUF", {"copy-Q8_0.gguf": converted("Q8_0")}, base)
    assert request_mirrored(quants) == []  # the verdict is on the bytes
    job = request_file_validation(quants.files.get(), base)
    assert job.params["artifact"] == artifact.pk


@pytest.mark.one_backend
def test_a_packed_checkpoint_is_judged_beside_the_base_that_we_hold(tmp_path: Path) -> None:
    base = sample_commit()
    quants = mirrored("someone/tiny-GPTQ", read_folder(write_gptq(tmp_path / "gptq")), base)
    (job,) = map(worked_on, request_mirrored(quants))
    assert (job.result["path"], job.result["verdict"]) == ("model.safetensors", "verified"), job.result
    report = Validation.objects.get().report
    assert "unpacked at a cosine of" in str(report["checks"])
    assert report["limits"]["class"] == "4 bit"
    assert request_mirrored(quants) == []


def test_of_checkpoints_only_one_at_the_top_beside_a_base_is_asked_for(settings: Any) -> None:
    settings.HOLDFAST_VALIDATE_MIRRORED = "all"
    assert request_mirrored(mirrored("someone/alone", {"model.safetensors": b"not opened"})) == []
    files = {"unet/model.safetensors": b"not opened", "vae/model.safetensors": b"nor this"}
    assert request_mirrored(mirrored("someone/parts", files, sample_commit())) == []


@pytest.mark.one_backend
def test_a_file_without_a_base_that_we_hold_at_best_loads(converted: Any, settings: Any) -> None:
    quants = mirrored("someone/tiny-GGUF", {"tiny-Q8_0.gguf": converted("Q8_0")})
    assert request_mirrored(quants) == []
    settings.HOLDFAST_VALIDATE_MIRRORED = "all"
    (job,) = request_mirrored(quants)
    assert worked_on(job).result["verdict"] == "loads"
    assert Validation.objects.get().parent is None
    base = sample_commit()
    Lineage.objects.create(child=quants.repo, parent=base.repo, parent_repo_id=base.repo.repo_id,
                           relation="finetune", evidence="declared")  # fmt: skip
    job = worked_on(request_file_validation(quants.files.get(), base))
    assert job.result["verdict"] == "loads"  # a fine-tune promises to be different
    assert "a finetune may say something else" in str(Validation.objects.latest("pk").report["checks"])


def test_a_verdict_grows_old_with_the_limits_and_with_time(settings: Any, capsys: Any) -> None:
    base = sample_commit()
    artifact = make_artifact(base, "Q8_0", b"q8")
    facts = {"artifact": artifact, "blob": artifact.blob, "path": artifact.path, "parent": base, "passed": True,
             "verdict": "verified", "engine": "transformers", "report": {}}  # fmt: skip
    Validation.objects.create(limits_version=1, **facts)
    assert [job.params["artifact"] for job in submit_stale(5)] == [artifact.pk]
    assert len(submit_stale(5)) == 1
    assert Job.objects.count() == 1
    assert sweep_stale(pause_seconds=0) == 0  # others wait
    Job.objects.all().delete()
    assert [sweep_stale(pause_seconds=0) for _ in range(2)] == [1, 0]
    call_command("validate", "--stale")
    assert "1 verdicts are due" in capsys.readouterr().out
    Job.objects.update(state="failed", error_code="bytes-lost", finished_at=timezone.now())
    assert submit_stale(5) == []  # until tomorrow
    Validation.objects.create(limits_version=read_limits().version, **facts)
    assert not stale_validations().exists()
    Validation.objects.update(created_at="2020-01-01T00:00:00Z")
    assert stale_validations().exists()
    settings.HOLDFAST_REVALIDATE_DAYS = 0
    assert not stale_validations().exclude(limits_version=1).exists()


def test_a_verdict_of_another_engine_build_is_due_and_no_other() -> None:
    base = sample_commit()
    builds = {"Q8_0": {"library_sha256": library_digest()}, "Q4_0": {"library_sha256": "ab" * 32}, "F16": {}}
    for recipe, engine in builds.items():
        artifact = make_artifact(base, recipe, recipe.encode())
        Validation.objects.create(
            artifact=artifact, blob=artifact.blob, path=artifact.path, parent=base, passed=True, verdict="verified",
            engine="llama.cpp (xllamacpp 1)", limits_version=read_limits().version,
            report={"engines": {"artifact": engine}},
        )  # fmt: skip
    assert sorted(stale_validations().values_list("path", flat=True)) == [
        "base-f32-F16.gguf",
        "base-f32-Q4_0.gguf",
    ]


def test_an_override_publishes_what_the_gate_refuses_and_says_why() -> None:
    base = sample_commit()
    artifact = make_artifact(base, "Q8_0", b"no GGUF: refused before an engine starts")
    save_gate("tinyfamily/*", publish=["loads", "verified"], pull=None)
    job = worked_on(request_validation(artifact))
    assert (job.result["verdict"], job.result["passed"]) == (
        "damaged",
        False,
    )  # passes no gate, whatever it says
    grant_override(artifact.blob, "verified", "it is meant to differ", by="alice")
    job = worked_on(request_validation(artifact))
    assert (job.result["verdict"], job.result["passed"]) == ("damaged", True)
    artifact.refresh_from_db()
    assert artifact.state == Artifact.State.PUBLISHED
    (row,) = [one for one in verdict_rows(base.repo, base, AnonymousUser()) if one.artifact]
    assert row.standing.override is not None
    assert (row.verdict, row.standing.override.reason) == ("verified", "it is meant to differ")
    event = Event.objects.get(agent="alice")
    assert (event.outcome, event.detail["reason"]) == ("warning", "it is meant to differ")
    assert withdraw_override(artifact.blob, "it was not", by="bob")
    assert not withdraw_override(artifact.blob, "again", by="bob")
    assert Event.objects.filter(agent="bob").count() == 1
