"""Inspection fills the catalog from headers and small files, once a blob, and labels what it refuses."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from conversion.formats.layout import stream_file
from conversion.formats.safetensors import plan_file
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.models import Blob, Commit, Event, Header, Job, Lineage, Repo, Tensor, Upstream
from registry.work import Lease, run_job, submit
from tests.checkpoints import record_commit, store_blob
from tests.conversion.formats.gguf.test_reader import SMALL as GGUF
from tests.fixtures.hostile import gguf as hostile_gguf
from tests.fixtures.hostile import safetensors as hostile_safetensors

SAMPLES = Path(__file__).parents[2] / "deploy/samples/tinyfamily"
pytestmark = pytest.mark.django_db(transaction=True)


def weights(**tensors: tuple[str, list[int]]) -> bytes:
    layout = plan_file([(name, shape, dtype) for name, (dtype, shape) in tensors.items()], {"format": "pt"})
    return b"".join(stream_file(layout, [(e.name, [bytes(e.length)]) for e in layout.entries]))


def card(front_matter: str, text: str = "# Card\n") -> bytes:
    return f"---\n{front_matter}\n---\n{text}".encode()


def inspect(commit: Commit) -> Job:
    """The job's row after a worker ran it."""
    job = submit(
        "inspect", key=str(commit.pk), label="inspect", params={"commit": commit.pk}, repo=commit.repo
    )
    run_job(job.pk)
    job.refresh_from_db()
    commit.refresh_from_db()
    return job


def test_a_real_checkpoint_is_described() -> None:
    commit = record_commit("tiny/base", SAMPLES / "base-f32")
    job = inspect(commit)
    assert (job.state, job.error_code) == ("succeeded", "")
    assert job.result["n_tensors"] == 30
    assert (commit.parameter_count, commit.architecture, commit.context_length) == (2_295_552, "llama", 512)
    assert commit.facts["parameters"] == {"F32": 2_295_552}
    assert commit.facts["tokenizer"]["kind"] == "LlamaTokenizer"
    assert commit.inspected_at is not None
    tensor = Tensor.objects.get(name="model.layers.0.mlp.down_proj.weight")
    assert (tensor.dtype, tensor.shape, tensor.length) == ("F32", [256, 512], 256 * 512 * 4)
    (event,) = Event.objects.filter(commit=commit)
    assert (event.type, event.outcome) == ("metadata extraction", "success")


def test_the_rows_name_the_very_bytes_of_each_tensor() -> None:
    commit = record_commit("tiny/adapter", SAMPLES / "lora-jargon-adapter")
    inspect(commit)
    blob = commit.files.get(path="adapter_model.safetensors").blob
    whole = (SAMPLES / "lora-jargon-adapter/adapter_model.safetensors").read_bytes()
    rows = list(Tensor.objects.filter(blob=blob))
    assert len(rows) == 12
    assert rows[0].start == len(whole) - sum(row.length for row in rows)
    assert rows[-1].start + rows[-1].length == len(whole)


def test_a_gguf_file_is_described_with_its_metadata() -> None:
    commit = record_commit("tiny/gguf", {"small.gguf": GGUF})
    inspect(commit)
    header = Header.objects.get()
    assert (header.format, header.n_tensors, header.parameter_count) == ("gguf", 2, 8 + 96)
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["tokens"] == {"type": "string", "length": 2, "first": ["a", "bc"]}
    assert commit.facts["parameters"] == {"F32": 8, "Q8_0": 96}
    assert (commit.library_name, commit.tags) == ("gguf", ["gguf"])


def test_the_card_and_licence_come_from_the_readme() -> None:
    readme = card("license: mit\ntags: [small]\npipeline_tag: text-generation", "# Tiny\n\0")
    commit = record_commit("tiny/card", {"README.md": readme, "model.safetensors": weights(a=("F32", [2]))})
    inspect(commit)
    assert (commit.license, commit.card) == ("mit", "# Tiny\n\ufffd")
    assert commit.card_data == {"license": "mit", "tags": ["small"], "pipeline_tag": "text-generation"}
    assert commit.tags == ["small", "safetensors"]


def test_a_blob_that_two_repos_share_is_read_once() -> None:
    data = weights(a=("BF16", [4, 4]))
    first = record_commit("one/model", {"model.safetensors": data})
    second = record_commit("two/model", {"model.safetensors": data, "config.json": b"{}"})
    inspect(first)
    seen = Header.objects.get().inspected_at
    inspect(second)
    assert Header.objects.get().inspected_at == seen
    assert Tensor.objects.count() == 1
    assert second.parameter_count == 16


def test_two_repos_that_share_a_blob_may_be_inspected_at_once() -> None:
    data = weights(**{f"t{i}": ("F32", [4]) for i in range(200)})
    commits = [record_commit(f"org/copy{i}", {"model.safetensors": data}) for i in range(4)]

    def inspect_in_thread(commit: Commit) -> str:
        try:
            return inspect(commit).state
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(inspect_in_thread, commits)) == ["succeeded"] * 4
    assert (Header.objects.count(), Tensor.objects.count()) == (1, 200)


def test_inspection_may_run_twice_and_changes_nothing_then() -> None:
    commit = record_commit("tiny/twice", SAMPLES / "base-bf16")
    inspect(commit)
    rows, facts, n_events = list(Tensor.objects.values()), commit.facts, Event.objects.count()
    inspect(commit)
    assert list(Tensor.objects.values()) == rows
    assert (commit.facts, Event.objects.count()) == (facts, n_events)


def test_shards_count_as_one_checkpoint() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    files = {shards[0]: weights(a=("F32", [4])), shards[1]: weights(b=("BF16", [6]))}
    commit = record_commit(
        "tiny/shards", {**files, "model.safetensors.index.json": json.dumps(index).encode()}
    )
    inspect(commit)
    assert (commit.parameter_count, commit.facts["parameters"]) == (10, {"F32": 4, "BF16": 6})
    assert commit.facts["n_tensors"] == 2


def test_the_same_model_in_several_types_is_counted_once() -> None:
    commit = record_commit("tiny/types", {"a-F32.gguf": GGUF, "a-copy.gguf": GGUF + b"\0"})
    inspect(commit)
    assert commit.parameter_count == 104


def test_an_index_that_names_a_missing_tensor_is_reported() -> None:
    index = json.dumps({"weight_map": {"gone": "a.safetensors"}}).encode()
    commit = record_commit(
        "tiny/index", {"a.safetensors": weights(a=("F32", [4])), "model.safetensors.index.json": index}
    )
    job = inspect(commit)
    assert job.state == "succeeded"
    assert commit.facts["checkpoint_refused"]["code"] == "ck-tensor-missing"
    assert commit.parameter_count == 4
    assert Event.objects.get(outcome="failure").detail["code"] == "ck-tensor-missing"


@pytest.mark.parametrize(
    ("path", "case"),
    [
        ("model.safetensors", hostile_safetensors.CASES["overlap"]),
        ("model.safetensors", hostile_safetensors.CASES["objects nested a million deep"]),
        ("model.gguf", hostile_gguf.CASES["data shorter than declared"]),
        ("model.gguf", hostile_gguf.CASES["2^60 tensors"]),
    ],
)
def test_a_hostile_header_is_labelled_and_the_file_kept(path: str, case: tuple[str, bytes]) -> None:
    code, data = case
    commit = record_commit("evil/model", {path: data, "README.md": card("license: mit")})
    job = inspect(commit)
    assert (job.state, job.result["n_refused"]) == ("succeeded", 1)
    header = Header.objects.get()
    assert (header.error_code, header.n_tensors) == (code, 0)
    event = Event.objects.get(outcome="failure")
    assert (event.blob, event.detail["code"], event.detail["path"]) == (header.blob, code, path)
    assert event.detail["message"] == header.error_message
    assert (commit.license, commit.parameter_count) == ("mit", None)
    assert blob_store().read(blob_key(header.blob.sha256)) == data
    inspect(commit)
    assert Event.objects.filter(outcome="failure").count() == 1


def test_a_refusal_is_withdrawn_once_a_program_understands_the_file() -> None:
    commit = record_commit("tiny/new", {"model.safetensors": weights(a=("F32", [4]))})
    Header.objects.create(blob=commit.files.get().blob, format="safetensors", error_code="st-dtype")
    inspect(commit)
    header = Header.objects.get()
    assert (header.error_code, header.error_message, header.n_tensors) == ("", "", 1)
    assert Tensor.objects.count() == 1


def test_a_file_named_after_another_format_does_not_hide_it() -> None:
    data = weights(a=("F32", [4]))
    inspect(record_commit("evil/renamed", {"model.gguf": data}))
    assert Header.objects.get().error_code == "gguf-magic"
    commit = record_commit("good/model", {"model.safetensors": data})
    inspect(commit)
    assert (Header.objects.get().error_code, commit.parameter_count) == ("", 4)


def test_a_header_with_text_no_database_keeps_is_kept_readable() -> None:
    data = plan_file([("a", [1], "U8")], {"note": "a\0b", "big": "x" * 3_000_000}).header_bytes + b"\0"
    inspect(record_commit("tiny/text", {"model.safetensors": data}))
    metadata = Header.objects.get().metadata
    assert metadata["note"] == "a\ufffdb"
    assert len(json.dumps(metadata)) < 1_100_000


def test_a_missing_blob_fails_the_job_with_its_code() -> None:
    commit = record_commit("tiny/missing", {"model.safetensors": weights(a=("F32", [4]))})
    blob_store().delete(blob_key(commit.files.get().blob.sha256))
    job = inspect(commit)
    assert (job.state, job.error_code) == ("failed", "key-missing")
    assert Header.objects.count() == 0


def test_a_commit_that_is_gone_is_no_failure() -> None:
    job = submit("inspect", key="gone", label="inspect", params={"commit": 999_999})
    run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded"


def test_a_slice_that_is_over_goes_on_from_what_is_recorded(settings: pytest.FixtureRequest) -> None:
    files = {f"part{i}/model.safetensors": weights(**{f"t{i}": ("F32", [4])}) for i in range(3)}
    commit = record_commit("tiny/slices", files)
    settings.HOLDFAST_SLICE_SECONDS = -1  # type: ignore[attr-defined]
    job = inspect(commit)
    assert (job.state, Header.objects.count()) == ("queued", 0)
    settings.HOLDFAST_SLICE_SECONDS = 900  # type: ignore[attr-defined]
    assert inspect(commit).state == "succeeded"
    assert Header.objects.count() == 3


def test_a_worker_that_lost_its_lease_records_nothing() -> None:
    from conversion.inspection import inspect_commit
    from registry.work import LeaseLost

    commit = record_commit("tiny/lost", {"model.safetensors": weights(a=("F32", [4]))})
    job = submit("inspect", key="lost", label="inspect", params={"commit": commit.pk})
    assert Job.objects.claim(job.pk, "first")
    stale = Lease(Job.objects.get(pk=job.pk))
    Job.objects.filter(pk=job.pk).update(fence=99)
    with pytest.raises(LeaseLost):
        inspect_commit(stale)
    assert (Header.objects.count(), Tensor.objects.count()) == (0, 0)


# --- lineage -----------------------------------------------------------------------------------------------


def edges() -> set[tuple[str, str, str, bool]]:
    rows = Lineage.objects.filter(evidence="declared").select_related("child")
    return {(row.child.repo_id, row.relation, row.parent_repo_id, row.parent is not None) for row in rows}


def test_a_declared_parent_that_we_hold_is_linked() -> None:
    record_commit("org/base", {"model.safetensors": weights(a=("F32", [4]))})
    commit = record_commit("org/tuned", {"README.md": card("base_model: Org/Base")})
    inspect(commit)
    assert edges() == {("org/tuned", "finetune", "Org/Base", True)}
    assert Lineage.objects.get().child_commit == commit


def test_a_parent_that_comes_later_is_linked_then() -> None:
    inspect(record_commit("org/adapter", {"README.md": card("base_model: org/base\nlibrary_name: peft")}))
    assert edges() == {("org/adapter", "adapter", "org/base", False)}
    inspect(record_commit("org/base", {"model.safetensors": weights(a=("F32", [4]))}))
    assert edges() == {("org/adapter", "adapter", "org/base", True)}


def test_a_parent_mirrored_under_another_name_is_found_by_its_own() -> None:
    hub = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    base = record_commit("copies/base", {"model.safetensors": weights(a=("F32", [4]))}).repo
    tuned = record_commit("copies/tuned", {"README.md": card("base_model: org/base")})
    Repo.objects.filter(pk=base.pk).update(upstream=hub, upstream_repo_id="org/base")
    Repo.objects.filter(pk=tuned.repo_id).update(upstream=hub, upstream_repo_id="org/tuned")
    inspect(tuned)
    assert Lineage.objects.get().parent == base


def test_a_newer_head_replaces_what_an_older_one_declared() -> None:
    inspect(record_commit("org/tuned", {"README.md": card("base_model: org/old")}))
    inspect(record_commit("org/tuned", {"README.md": card("base_model: org/new")}))
    assert edges() == {("org/tuned", "finetune", "org/new", False)}


def test_only_the_head_speaks_for_its_repo() -> None:
    inspect(record_commit("org/tuned", {"README.md": card("base_model: org/base")}))
    inspect(record_commit("org/tuned", {"README.md": card("base_model: org/other")}, branch="dev"))
    assert edges() == {("org/tuned", "finetune", "org/base", False)}


def test_a_repo_is_not_its_own_parent_and_needs_no_claim_for_what_was_made_here() -> None:
    base = record_commit("org/base", {"model.safetensors": weights(a=("F32", [4]))}).repo
    commit = record_commit("org/base-GGUF", {"README.md": card("base_model: [org/base, org/base-GGUF]")})
    Lineage.objects.create(
        child=commit.repo, parent=base, parent_repo_id="org/base", relation="quantized", evidence="made_here"
    )
    inspect(commit)
    assert edges() == set()
    assert Lineage.objects.count() == 1


def test_queries_grow_only_with_batches_of_inserted_rows(django_assert_max_num_queries: object) -> None:
    from conversion.inspection import inspect_commit

    counts = []
    for n_tensors in (3, 300):
        tensors = {f"t{n_tensors}.{i}": ("U8", [1]) for i in range(n_tensors)}
        commit = record_commit(f"org/model{n_tensors}", {"model.safetensors": weights(**tensors)})
        job = submit("inspect", key=f"count{n_tensors}", label="inspect", params={"commit": commit.pk})
        Job.objects.claim(job.pk, "me")
        with django_assert_max_num_queries(60) as seen:  # type: ignore[operator]
            inspect_commit(Lease(Job.objects.get(pk=job.pk)))
        counts.append(len(seen))
    assert counts[1] - counts[0] <= 3  # SQLite takes about 140 rows in one insert


def test_blobs_without_tensors_are_left_alone() -> None:
    blob = store_blob(b"plain text")
    inspect(record_commit("org/text", {"notes.txt": b"plain text"}))
    assert not Header.objects.filter(blob=blob).exists()
    assert Blob.objects.count() == 1
