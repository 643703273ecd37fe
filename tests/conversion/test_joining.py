"""Checkpoints and adapters as recipes: the bytes of the stand-alone command, made and made again from the store."""

import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from conversion.command import main
from conversion.convert import submit_conversion
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.gguf import read_header
from conversion.formats.source import BytesSource
from conversion.naming.to_safetensors import DEQUANTISED_FROM, TENSOR_NAMES
from conversion.recipes import Choice, Partner
from conversion.reproduce import submit_reproduction
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.models import Artifact, Commit, Job, Lineage, Repo
from registry.variants import variants_of
from registry.work import run_job
from tests.checkpoints import read_folder, record_commit
from tests.conversion.naming.models import SAMPLES, config, write_checkpoint
from tests.conversion.test_publish import put_out
from tests.fixtures.converted.record import describe
from tests.fixtures.requantised.models import MODELS, write_gguf

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_backend]
ADAPTERS = json.loads((Path(__file__).parents[1] / "fixtures/lora/reference.json").read_text())


def mirrored(sample: str) -> Commit:
    return record_commit(f"tinyfamily/{sample}", read_folder(SAMPLES / sample))


def worked_on(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


def stored(artifact: Artifact) -> bytes:
    return blob_store().read(blob_key(artifact.blob.sha256))


def convert(commit: Commit, types: str, *options: str) -> list[Artifact]:
    call_command("convert", commit.repo.repo_id, "--to", types, *options, stdout=StringIO())
    return list(Artifact.objects.filter(source=commit).order_by("pk"))


def by_hand(source: Path, target: Path, *options: object) -> None:
    assert main([*map(str, (source, target, *options)), "--quiet"]) == 0


def test_a_checkpoint_of_another_dtype_is_what_the_command_line_makes(tmp_path: Path) -> None:
    commit = mirrored("base-f32")
    (artifact,) = convert(commit, "safetensors-bf16")
    assert (artifact.path, artifact.recipe.name) == ("base-f32-BF16/model.safetensors", "safetensors-BF16")
    assert (artifact.recipe.format, artifact.state) == ("safetensors", "unvalidated")
    by_hand(SAMPLES / "base-f32", tmp_path / "made.safetensors", "--to", "safetensors-bf16")
    assert stored(artifact) == (tmp_path / "made.safetensors").read_bytes()
    job = worked_on(submit_reproduction(artifact))
    assert (job.state, job.result["identical"]) == ("succeeded", True)


def test_a_quantised_gguf_becomes_a_checkpoint_that_says_so(tmp_path: Path) -> None:
    by_hand(SAMPLES / "base-bf16", tmp_path / "base-Q8_0.gguf", "--to", "Q8_0")
    commit = record_commit("acme/base", {"base-Q8_0.gguf": (tmp_path / "base-Q8_0.gguf").read_bytes()})
    plain, kept = (convert(commit, "safetensors-f16", *asked)[-1] for asked in ([], ["--keep-names"]))
    assert (plain.recipe.name, kept.path) == (
        "safetensors-F16",
        f"base-F16-{kept.recipe.digest[:8]}/model.safetensors",
    )
    for artifact, whose, name in (
        (plain, "transformers", "model.embed_tokens.weight"),
        (kept, "gguf", "token_embd.weight"),
    ):
        made = open_checkpoint({"model.safetensors": BytesSource(stored(artifact))})
        assert made.metadata == {"format": "pt", DEQUANTISED_FROM: "Q8_0", TENSOR_NAMES: whose}
        assert made.entries[name].dtype == "F16"
        assert worked_on(submit_reproduction(artifact)).state == "succeeded"


def test_names_that_could_not_be_restored_are_said() -> None:
    data = write_gguf(MODELS["dense"])
    commit = record_commit("acme/odd", {"odd-BF16.gguf": data})
    for asked in (["--dry-run"], []):
        out = StringIO()
        call_command("convert", "acme/odd", "--to", "safetensors-f32", *asked, stdout=out)
        assert "tensor-not-restored: there is no tensor 'blk.0.ffn_norm.weight'" in out.getvalue()
    (artifact,) = Artifact.objects.filter(source=commit)
    made = open_checkpoint({"model.safetensors": BytesSource(stored(artifact))})
    assert made.metadata[TENSOR_NAMES] == "gguf"


def test_an_adapter_becomes_the_reference_s_gguf() -> None:
    adapter, base = mirrored("lora-jargon-adapter"), mirrored("base-bf16")
    made = convert(adapter, "F32,F16,Q8_0", "--base", base.repo.repo_id)
    digests = {one.recipe.name: hashlib.sha256(stored(one)).hexdigest() for one in made}
    assert digests == ADAPTERS
    assert {one.path for one in made} == {f"lora-jargon-adapter-{kind}.gguf" for kind in ADAPTERS}
    assert made[0].recipe.content["base"] == Partner.of(base).as_json()
    assert worked_on(submit_reproduction(made[2])).result["identical"]


def test_an_adapter_is_merged_into_all_that_is_made_of_its_base(tmp_path: Path) -> None:
    adapter, base = mirrored("lora-jargon-adapter"), mirrored("base-bf16")
    made = convert(base, "Q8_0,safetensors-f32", "--adapter", adapter.repo.repo_id)
    gguf, checkpoint = sorted(made, key=lambda one: one.recipe.format)
    assert gguf.path == f"base-bf16-Q8_0-{gguf.recipe.digest[:8]}.gguf"
    folder = SAMPLES / "lora-jargon-adapter"
    by_hand(SAMPLES / "base-bf16", tmp_path, "--to", "Q8_0,safetensors-f32", "--adapter", folder)
    name = "base-bf16-lora-jargon-adapter"
    expected = (tmp_path / f"{name}-Q8_0.gguf").read_bytes()
    told, wanted = (describe(BytesSource(data)) for data in (stored(gguf), expected))
    assert told["tensors"] == wanted["tensors"]
    whole = tmp_path / f"{name}-safetensors-f32/model.safetensors"
    assert stored(checkpoint) == whole.read_bytes()
    for artifact in (gguf, checkpoint):
        assert worked_on(submit_reproduction(artifact)).state == "succeeded"


def test_what_an_adapter_was_merged_into_is_judged_against_the_merged_parent() -> None:
    adapter, base = mirrored("lora-jargon-adapter"), mirrored("base-bf16")
    (artifact,) = convert(base, "Q8_0", "--adapter", adapter.repo.repo_id)
    job = worked_on(Job.objects.get(kind="validate", params__artifact=artifact.pk))
    assert (job.state, job.result["verdict"]) == ("succeeded", "verified")
    report = artifact.validations.get().report
    assert adapter.repo.repo_id in report["parent"]["reference"]


def test_a_pre_tokenizer_that_is_named_is_part_of_the_recipe(tmp_path: Path) -> None:
    from tests.fixtures.architectures.fixture import Fixture

    commit = record_commit("acme/qwen", Fixture("qwen2-tiny").write(tmp_path))
    (artifact,) = convert(commit, "F16", "--pre-tokenizer", "deepseek-r1-qwen")
    assert read_header(BytesSource(stored(artifact))).get("tokenizer.ggml.pre") == "deepseek-r1-qwen"
    assert artifact.recipe.content["pre_tokenizer"] == "deepseek-r1-qwen"
    assert artifact.path == f"qwen-F16-{artifact.recipe.digest[:8]}.gguf"
    assert Choice.from_content(artifact.recipe.content).digest == artifact.recipe.digest
    with pytest.raises(CommandError, match="unknown-pre-tokenizer"):
        convert(commit, "F16", "--pre-tokenizer", "nobody", "--dry-run")


def test_an_adapter_without_its_base_is_refused_and_leaves_nothing() -> None:
    adapter, base = mirrored("lora-jargon-adapter"), mirrored("base-bf16")
    with pytest.raises(CommandError, match=r"adapter-base: .*name its base with --base"):
        convert(adapter, "F16", "--dry-run")
    with pytest.raises(CommandError, match="adapter-type"):
        convert(adapter, "safetensors-f32", "--base", base.repo.repo_id, "--dry-run")
    job = worked_on(submit_conversion(adapter, Choice.of("F16")))
    assert (job.state, job.error_code) == ("failed", "adapter-base")
    assert not Artifact.objects.exists()


def test_an_adapter_finds_the_base_that_it_declares() -> None:
    adapter, base = mirrored("lora-jargon-adapter"), mirrored("base-bf16")
    Lineage.objects.create(
        child=adapter.repo, parent=base.repo, parent_repo_id=base.repo.repo_id, relation="adapter", evidence="declared"
    )  # fmt: skip
    (artifact,) = convert(adapter, "F16")
    assert hashlib.sha256(stored(artifact)).hexdigest() == ADAPTERS["F16"]
    assert Partner.from_json(artifact.recipe.content["base"]) == Partner.of(base)


def test_a_private_adapter_is_not_merged_into_what_more_people_see() -> None:
    adapter, base = mirrored("lora-jargon-adapter"), mirrored("base-bf16")
    Repo.objects.filter(pk=adapter.repo_id).update(private=True)
    with pytest.raises(CommandError, match=r"partner-private: .* is private"):
        convert(base, "F16", "--adapter", adapter.repo.repo_id, "--dry-run")
    Repo.objects.filter(pk=base.repo_id).update(private=True)
    convert(base, "F16", "--adapter", adapter.repo.repo_id, "--dry-run")


def test_a_partner_that_is_gone_stops_the_recipe_by_its_name() -> None:
    base, gone = mirrored("base-bf16"), Partner("acme/gone", "ab" * 20)
    job = worked_on(submit_conversion(base, Choice(Choice.of("F16").file_type, adapter=gone)))
    assert (job.state, job.error_code) == ("failed", "partner-missing")
    assert "acme/gone@abababab" in job.error_message


def test_a_dry_run_shows_a_checkpoint_as_it_shows_a_gguf(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "tiny", config(), dtype="BF16")
    commit = record_commit("acme/tiny", tmp_path / "tiny")
    out = StringIO()
    call_command("convert", "acme/tiny", "--to", "safetensors-f32,Q8_0", "--dry-run", "--json", stdout=out)
    checkpoint, gguf = json.loads(out.getvalue())
    told: dict[str, Any] = {tensor["name"]: tensor for tensor in checkpoint["tensors"]}
    assert told["model.norm.weight"]["type"] == "F32"
    assert (checkpoint["path"], checkpoint["needs_imatrix"]) == ("tiny-F32/model.safetensors", False)
    assert gguf["path"] == "tiny-Q8_0.gguf"
    assert not Artifact.objects.filter(source=commit).exists()


def test_a_published_checkpoint_lies_in_a_folder_with_all_that_a_loader_needs(tmp_path: Path) -> None:
    (first,) = convert(mirrored("base-f32"), "safetensors-bf16")
    commit = put_out(first)
    second = convert(first.source, "safetensors-f16")[-1]
    commit = put_out(second)
    assert commit.repo.repo_id == "tinyfamily/base-f32-safetensors"
    beside = ("config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json")
    folders = [
        f"base-f32-{kind}/{name}" for kind in ("BF16", "F16") for name in ("model.safetensors", *beside)
    ]
    paths = list(commit.files.order_by("path").values_list("path", flat=True))
    assert paths == sorted([".gitattributes", "README.md", *folders])
    for file in commit.files.filter(path__startswith="base-f32-F16/").select_related("blob"):
        (tmp_path / Path(file.path).name).write_bytes(blob_store().read(blob_key(file.blob.sha256)))
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    by_hand(tmp_path, tmp_path / "again.gguf", "--to", "F16")
    (variant,) = [one for one in variants_of(commit.repo, first.source) if one.name == "safetensors-F16"]
    assert [file.path for file in variant.files] == sorted(path for path in folders if "-F16/" in path)
    assert variant.path == "base-f32-F16/model.safetensors"
    card = blob_store().read(blob_key(commit.files.get(path="README.md").blob.sha256)).decode()
    assert "library_name: transformers" in card
    assert "holdfast pull tinyfamily/base-f32:safetensors-F16" in card
