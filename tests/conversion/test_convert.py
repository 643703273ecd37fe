"""A conversion job: exact bytes, one artifact, resumable anywhere, and a clear end for what cannot be converted."""

import hashlib
import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from conversion.convert import refuse_when_full, staged_name, submit_conversion
from conversion.output import CHECKPOINT_BYTES
from conversion.recipes import Choice
from mirror.blobs import store_from_url
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.models import Artifact, Blob, Commit, Event, Job
from registry.work import JobFailed, run_job
from tests.checkpoints import read_folder, record_commit
from tests.conversion.naming.models import SAMPLES, config, write_checkpoint

# Kills and validation convert on the servers.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_backend]
REFERENCE = json.loads((Path(__file__).parents[1] / "fixtures/converted/base-Q8_0.json").read_text())


def convert(commit: Commit, name: str = "Q8_0") -> Job:
    """The job's row after a worker ran one slice of it."""
    job = submit_conversion(commit, Choice.of(name))
    run_job(job.pk)
    job.refresh_from_db()
    return job


def sample() -> Commit:
    files = {path: file for path, file in read_folder(SAMPLES / "base-f32").items() if path != "README.md"}
    return record_commit("tinyfamily/base-f32", files)


@pytest.fixture
def large(tmp_path: Path) -> Commit:
    """A checkpoint whose F32 file takes several slabs and checkpoints."""
    write_checkpoint(tmp_path / "large", config(vocab_size=40_000, hidden_size=256, intermediate_size=512))
    return record_commit("acme/large", tmp_path / "large")


def progress_of(job: Job) -> dict[str, Any]:
    """What the checkpoint of a job with one artifact keeps of it."""
    (progress,) = job.checkpoint["files"].values()
    return progress


def stored(artifact: Artifact) -> bytes:
    return blob_store().read(blob_key(artifact.blob.sha256))


def test_the_artifact_is_the_reference_s_file_and_waits_for_validation() -> None:
    job = convert(sample())
    assert (job.state, job.error_code) == ("succeeded", "")
    artifact = Artifact.objects.get()
    assert (artifact.path, artifact.state) == ("base-f32-Q8_0.gguf", "unvalidated")
    assert artifact.blob.sha256 == REFERENCE["sha256"] == hashlib.sha256(stored(artifact)).hexdigest()
    assert job.result["sha256"] == REFERENCE["sha256"]
    event = Event.objects.get(type="migration")
    assert (event.artifact, event.detail["recipe_digest"]) == (artifact, Choice.of("Q8_0").digest)
    assert Job.objects.get(kind="validate").params["artifact"] == artifact.pk


def test_progress_counts_the_bytes_of_the_artifact() -> None:
    job = convert(sample())
    assert job.bytes_done == job.bytes_total == REFERENCE["size_bytes"]


def test_nothing_is_left_staged() -> None:
    convert(sample())
    assert list(blob_store().staged_names()) == []


def test_a_second_conversion_finds_the_first() -> None:
    commit = sample()
    first, second = convert(commit), convert(commit)
    assert (first.result["already_there"], second.result["already_there"]) == (False, True)
    assert Artifact.objects.count() == Event.objects.filter(type="migration").count() == 1


def test_each_file_type_is_an_artifact_of_its_own() -> None:
    commit = sample()
    for name in ("F16", "Q4_0"):
        assert convert(commit, name).state == "succeeded"
    assert sorted(Artifact.objects.values_list("path", flat=True)) == [
        "base-f32-F16.gguf",
        "base-f32-Q4_0.gguf",
    ]


def test_a_sharded_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for shards in (1, 3):
        write_checkpoint(tmp_path / str(shards), config(), shards=shards)
        commit = record_commit(f"shards-{shards}/same", tmp_path / str(shards))
        digests.add(convert(commit, "Q4_0").result["sha256"])
    assert len(digests) == 1


def test_slice_after_slice_gives_the_bytes_of_one_run(large: Commit, settings: Any) -> None:
    settings.HOLDFAST_SLICE_SECONDS = 0
    job = submit_conversion(large, Choice.of("F32"))
    places: list[int] = []
    while not job.is_finished and len(places) < 200:
        run_job(job.pk)
        job.refresh_from_db()
        places.append(progress_of(job)["durable"])
    assert len(places) > 4
    assert places == sorted(places)
    assert job.state == "succeeded"
    settings.HOLDFAST_SLICE_SECONDS = 900
    Artifact.objects.all().delete()
    assert convert(large, "F32").result["sha256"] == job.result["sha256"]


def test_bytes_beyond_the_last_checkpoint_are_continued_and_checked(large: Commit) -> None:
    expected = convert(large, "F32").result["sha256"]
    whole = blob_store().read(blob_key(expected))
    Artifact.objects.all().delete()
    blob_store().delete(blob_key(expected))
    stage_remains(large, whole[: CHECKPOINT_BYTES + 12_345])
    job = convert(large, "F32")
    assert (job.state, job.result["sha256"]) == ("succeeded", expected)
    (first, last), *_ = progress_of(job)["suspect"]
    assert first == 0
    assert CHECKPOINT_BYTES <= last <= CHECKPOINT_BYTES + 12_345, "an S3 store keeps whole parts"


def test_bytes_that_a_crash_damaged_are_made_again(large: Commit) -> None:
    expected = convert(large, "F32").result["sha256"]
    whole = bytearray(blob_store().read(blob_key(expected)))
    Artifact.objects.all().delete()
    whole[5_000_000] ^= 1
    stage_remains(large, bytes(whole[:20_000_000]))
    job = submit_conversion(large, Choice.of("F32"))
    run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("queued", "staged-bytes-damaged")
    assert Artifact.objects.count() == 0
    Job.objects.filter(pk=job.pk).update(run_after=Now() - timedelta(seconds=1))
    run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.result["sha256"]) == ("succeeded", expected)
    damaged = hashlib.sha256(bytes(whole)).hexdigest()
    assert blob_store().stat(blob_key(damaged)) is None


def stage_remains(commit: Commit, data: bytes) -> None:
    """What a killed worker leaves: staged bytes that no checkpoint of a job knows of."""
    name = staged_name(commit, Choice.of("F32"))
    with blob_store().stage(name) as staged:
        staged.write(data)
        staged.checkpoint()


def test_the_number_of_queries_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    counts = []
    for layers in (2, 1, 12):  # the first one also writes the recipe's row
        write_checkpoint(tmp_path / str(layers), config(num_hidden_layers=layers))
        commit = record_commit(f"acme/layers-{layers}", tmp_path / str(layers))
        job = submit_conversion(commit, Choice.of("Q8_0"))
        with CaptureQueriesContext(connection) as queries:
            run_job(job.pk)
        counts.append(len([query for query in queries if "registry_job" not in query["sql"]]))
    assert counts[1] == counts[2]


def broken(tmp_path: Path, change: Any) -> Commit:
    write_checkpoint(tmp_path / "model", config())
    change(tmp_path / "model")
    return record_commit("acme/model", tmp_path / "model")


def set_config(**changes: Any) -> Any:
    return lambda folder: (folder / "config.json").write_text(json.dumps(config(**changes)))


def put_nan(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    (folder / "model.safetensors").write_bytes(data)


def cut_short(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])


def remove(*names: str) -> Any:
    return lambda folder: [(folder / name).unlink() for name in names]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (
            set_config(architectures=["FooForCausalLM"]),
            "unsupported-architecture",
            "Supported: ",
        ),
        (
            set_config(quantization_config={"quant_method": "wishful"}),
            "packed-unknown",
            "quantization method 'wishful' is not one of fp8, gptq, awq",
        ),
        (set_config(num_hidden_layers=1), "unknown-tensor", "has no place in a "),
        (set_config(hidden_size="big"), "bad-config", "hidden_size must be a positive whole number"),
        (remove("config.json"), "bad-config", "has no config.json"),
        (remove("tokenizer.model"), "no-tokenizer", "neither tokenizer.model nor tokenizer.json"),
        (remove("model.safetensors"), "ck-empty", "no file here holds weights: "),
        (put_nan, "non-finite-weights", "ggml refuses NaN and infinity"),
        (cut_short, "st-data-short", "its data ends at byte"),
    ],
)
def test_what_cannot_be_converted_fails_with_a_code_and_leaves_no_artifact(
    tmp_path: Path, change: Any, code: str, said: str
) -> None:
    job = convert(broken(tmp_path, change))
    assert (job.state, job.error_code) == ("failed", code)
    assert job.error_message.startswith("acme/model@")
    assert said in job.error_message
    assert Artifact.objects.count() == 0
    assert not Job.objects.filter(kind="validate").exists()


def test_rows_that_blocks_do_not_divide_are_refused_with_a_way_out(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "odd", config(intermediate_size=100))
    commit = record_commit("acme/odd", tmp_path / "odd")
    refused = convert(commit, "Q8_0")
    assert refused.error_code == "row-not-divisible"
    assert "convert to F16 or BF16" in refused.error_message
    assert convert(commit, "F16").state == "succeeded"


def test_a_missing_source_blob_is_named(tmp_path: Path) -> None:
    commit = sample()
    blob = commit.files.get(path="model.safetensors").blob
    blob_store().delete(blob_key(blob.sha256))
    job = convert(commit)
    assert (job.state, job.error_code) == ("failed", "key-missing")
    assert blob.sha256 in job.error_message


def test_a_store_without_room_refuses_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"needs .* bytes more, but only .* are free") as refused:
        refuse_when_full(store_from_url(tmp_path.as_uri()), 1 << 60, "x.gguf")
    assert refused.value.code == "no-space"


def test_a_blob_that_was_lost_is_present_again() -> None:
    commit = sample()
    digest = convert(commit).result["sha256"]
    Artifact.objects.all().delete()
    Blob.objects.filter(sha256=digest).update(state="missing")
    blob_store().delete(blob_key(digest))
    convert(commit)
    assert Blob.objects.get(sha256=digest).state == "present"


# --- the shell --------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("convert", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_makes_what_is_asked_and_says_so() -> None:
    sample()
    printed = run("tinyfamily/base-f32", "--to", "Q8_0,q4_0")
    assert "made base-f32-Q8_0.gguf: 2.5 MB, sha256 b7cdbfe23d70…" in printed
    assert "made base-f32-Q4_0.gguf" in printed
    assert "was there already" in run("tinyfamily/base-f32")


def test_json_has_one_job_with_every_artifact() -> None:
    sample()
    (job,) = json.loads(run("tinyfamily/base-f32@main", "--to", "F16,BF16", "--json"))
    assert [one["recipe"] for one in job["result"]["artifacts"]] == ["F16", "BF16"]


def test_enqueue_leaves_the_work_to_the_workers() -> None:
    sample()
    assert "is queued: convert tinyfamily/base-f32@" in run("tinyfamily/base-f32", "--enqueue")
    assert Job.objects.get().state == "queued"


def test_a_dry_run_shows_every_tensor_and_the_exact_size(capsys: pytest.CaptureFixture[str]) -> None:
    sample()
    (plan,) = json.loads(run("tinyfamily/base-f32", "--to", "Q4_0", "--dry-run", "--json"))
    assert plan["size_bytes"] == 1_389_120
    assert {tensor["name"]: tensor["type"] for tensor in plan["tensors"]}["output.weight"] == "Q6_K"
    assert "base-f32-Q4_0.gguf: 1.4 MB (1,389,120 bytes)" in run(
        "tinyfamily/base-f32", "--to", "Q4_0", "--dry-run"
    )
    assert "blk.2.ffn_up.weight" in capsys.readouterr().out
    assert Job.objects.count() == Artifact.objects.count() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["acme/none"], 1, "repo-not-found: acme/none is not here"),
        (["tinyfamily/base-f32@nope"], 1, "revision-not-found"),
        (["tinyfamily/base-f32", "--to", "Q9_9"], 2, "'Q9_9' is not one of F32, F16"),
        (["tinyfamily/base-f32", "--to", ","], 2, "--to needs 1 to 32 of"),
    ],
)
def test_mistakes_have_a_sentence_and_an_exit_status(arguments: list[str], status: int, said: str) -> None:
    sample()
    with pytest.raises(CommandError, match=said) as refused:
        run(*arguments)
    assert refused.value.returncode == status


def test_a_failed_job_is_exit_status_1_and_the_others_are_still_made(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "odd", config(intermediate_size=100))
    record_commit("acme/odd", tmp_path / "odd")
    with pytest.raises(CommandError, match="row-not-divisible") as refused:
        run("acme/odd", "--to", "Q8_0,F16")
    assert refused.value.returncode == 1
    assert Artifact.objects.get().path == "odd-F16.gguf"
