"""A model with something missing is known by names and shapes, in either container, before anything runs."""

import json
import shutil
from contextlib import ExitStack

import pytest

from conversion.formats.gguf import plan_file, string, uint32
from conversion.formats.packed import unpack
from conversion.formats.safetensors import plan_file as plan_safetensors
from conversion.formats.safetensors import read_header
from conversion.formats.source import FileSource
from conversion.inference.gaps import Outline, find_gaps, outline_of_checkpoint
from conversion.inference.judge import judge
from conversion.inference.subjects import look_at
from tests.conversion.inference.ggufs import BASE, SAMPLES, header_of
from tests.fixtures.architectures.fixture import fixtures


@pytest.fixture(scope="module")
def outline(converted):
    header = header_of(converted("Q8_0"))
    metadata = {key: value.preview for key, value in header.metadata.items()}
    return Outline("llama", {entry.name: entry.shape for entry in header.entries}, metadata, 1024)


def gaps_of(outline, **changes):
    """With some tensors of another shape, or gone (None); dots are written as two underscores."""
    shapes = dict(outline.shapes)
    for name, shape in changes.items():
        shapes.pop(name.replace("__", "."), None)
        if shape is not None:
            shapes[name.replace("__", ".")] = shape
    return find_gaps(Outline(outline.architecture, shapes, outline.metadata, outline.n_tokens))


def test_a_whole_model_has_no_gaps(outline):
    assert find_gaps(outline).sentences == []


@pytest.mark.parametrize(("changes", "code", "sentence"), [
    ({"blk__1__ffn_up__weight": None}, "tensor-missing", "layer 1 has no ffn_up.weight"),
    ({"blk__2__attn_norm__weight": None}, "tensor-missing", "layer 2 has no attn_norm.weight"),
    ({"token_embd__weight": None}, "tensor-missing", "there is no token_embd.weight"),
    ({"output_norm__weight": None}, "tensor-missing", "there is no output_norm.weight"),
    ({"blk__3__attn_q__weight": (256, 256)}, "tensor-missing", "layer 3 has no attn_k.weight"),
    ({"blk__0__attn_k__weight": (256, 256)}, "tensor-shape", "blk.0.attn_k.weight is 256 x 256, not 128 x 256"),
    ({"blk__0__ffn_down__weight": (512, 256)}, "tensor-shape", "blk.0.ffn_down.weight is 512 x 256, not 256 x 512"),
    ({"token_embd__weight": (1000, 256)}, "tensor-shape", "token_embd.weight has 1000 rows for 1024 tokens"),
    ({"output__weight": (1024, 128)}, "tensor-shape", "output.weight is 1024 x 128, but the model is 256 wide"),
])  # fmt: skip
def test_each_gap_is_named(outline, changes, code, sentence):
    found = gaps_of(outline, **changes)
    assert found.code == code
    assert sentence in found.sentences


def test_without_an_output_the_embeddings_serve(outline):
    assert gaps_of(outline, output__weight=None).sentences == []


def test_a_tensor_that_no_layer_has_is_missing_from_all(outline):
    changes = {f"blk__{layer}__attn_v__weight": None for layer in range(3)}
    assert len(gaps_of(outline, **changes).missing) == 3


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.name)
def test_no_architecture_that_we_convert_seems_to_lack_anything(fixture, tmp_path):
    with ExitStack() as stack:
        look = look_at(fixture.write(tmp_path), stack)
        found = find_gaps(outline_of_checkpoint(unpack(look.weights, look.config), look.config))
    assert found.sentences == []


def test_a_checkpoint_packed_in_an_unknown_way_is_not_blamed(tmp_path):
    folder = written(tmp_path / "packed", {"quantization_config": {"quant_method": "unheard-of"}})
    check = judge(folder).checks["completeness"]
    assert (check.verdict, "packed in a way that is not known here" in check.summary) == ("pass", True)


@pytest.mark.parametrize("announced", [4, 10**9, 2**31])
def test_absent_layers_are_found_without_counting_to_an_absurd_number(outline, announced):
    found = find_gaps(Outline("llama", outline.shapes, {"llama.block_count": announced}))
    assert found.missing == [f"{announced} layers are announced, 3 are there: none of layer 3"]


def test_of_an_architecture_that_we_do_not_know_only_layers_and_vocabulary_are_asked():
    shapes = {"token_embd.weight": (10, 4), "blk.0.anything": (1,), "blk.1.other": (2,)}
    assert find_gaps(Outline("lemma", shapes, {"lemma.block_count": 2}, 10)).sentences == []
    assert find_gaps(Outline("lemma", shapes, {"lemma.block_count": 3}, 9)).code == "tensor-missing"


def written(folder, changes, drop=()):
    """A copy of the sample checkpoint whose config and tensors were changed; the weights are zeros."""
    shutil.copytree(BASE, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with FileSource(folder / "model.safetensors") as source:
        entries = read_header(source).entries
    layout = plan_safetensors([(one.name, one.shape, one.dtype) for one in entries if one.name not in drop])
    data = layout.header_bytes + bytes(layout.size_bytes - len(layout.header_bytes))
    (folder / "model.safetensors").write_bytes(data)
    return folder


@pytest.mark.parametrize(("changes", "drop", "code", "words"), [
    ({}, ["model.layers.1.mlp.up_proj.weight"], "tensor-missing", "layer 1 has no ffn_up.weight"),
    ({}, ["lm_head.weight"], "tensor-missing", "there is no lm_head.weight"),
    ({"num_hidden_layers": 4}, [], "tensor-missing", "4 layers are announced, 3 are there"),
    ({"vocab_size": 1000}, [], "tensor-shape", "has 1024 rows for 1000 tokens"),
    ({"intermediate_size": 768}, [], "tensor-shape", "not 768 x 256"),
    ({"num_hidden_layers": "three"}, [], "bad-config", "num_hidden_layers must be a positive whole number"),
])  # fmt: skip
def test_a_checkpoint_is_asked_the_same_through_its_familys_names(tmp_path, changes, drop, code, words):
    report = judge(written(tmp_path / "broken", changes, drop))
    check = report.checks["completeness"]
    assert (report.verdict, check.verdict, check.code) == ("damaged", "fail", code)
    assert words in " ".join([check.summary, *map(str, check.value or [])])
    assert report.checks["load"].verdict == "skipped"


def test_a_shard_that_is_missing_is_a_gap_not_a_broken_file(tmp_path):
    folder = tmp_path / "sharded"
    folder.mkdir()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    layout = plan_safetensors([("a", (2,), "F32")])
    (folder / "model-00001-of-00002.safetensors").write_bytes(layout.header_bytes + bytes(8))
    report = judge(folder)
    assert report.checks["integrity"].verdict == "pass"
    assert report.checks["completeness"].code == "ck-shard-missing"
    assert report.verdict == "damaged"


def test_a_checkpoint_is_told_with_the_digest_of_each_file():
    report = judge(SAMPLES / "lora-jargon-adapter")
    assert set(report.artifact["files"]) == {
        path.name for path in (SAMPLES / "lora-jargon-adapter").iterdir()
    }
    assert report.checks["integrity"].verdict == "pass"


def test_a_gguf_of_no_tensors_is_not_complete(tmp_path):
    header = plan_file(
        {"general.architecture": string("llama"), "llama.block_count": uint32(0)}, []
    ).header_bytes
    (tmp_path / "empty.gguf").write_bytes(header)
    assert judge(tmp_path / "empty.gguf").checks["completeness"].code == "no-tensors"
