"""Which files a variant means, for names as they are found in the wild."""

import pytest
from holdfast.choosing.variants import check_shards, choices_of, files_of_format, formats_of, gguf_groups
from holdfast.errors import BadAnswer
from holdfast.sources.remote import RemoteFile


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 10 + n, "a" * 40, None) for n, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("path", "variant"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("llama-3.2-1b-instruct-q8_0.gguf", "Q8_0"),
        ("model.IQ3_XXS.gguf", "IQ3_XXS"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("stories260K.f32.gguf", "F32"),
        ("BF16/model-BF16-00001-of-00002.gguf", "BF16"),
        ("Q6_K/model.gguf", "Q6_K"),
        ("Q4_0-model.gguf", "Q4_0"),
        ("model-Q5_K_S.v2.gguf", "Q5_K_S"),
        ("plain.gguf", "plain"),
        ("f16.gguf", "F16"),
    ],
)
def test_the_type_is_read_from_the_name(path: str, variant: str) -> None:
    assert [group.variant for group in gguf_groups(files(path))] == [variant]


def test_shards_are_one_group_in_order() -> None:
    (group,) = gguf_groups(files("m-F16-00002-of-00002.gguf", "m-F16-00001-of-00002.gguf"))
    assert [file.path for file in group.files] == ["m-F16-00001-of-00002.gguf", "m-F16-00002-of-00002.gguf"]
    check_shards(group, "org/name")


@pytest.mark.parametrize(
    "paths", [("m-00001-of-00002.gguf",), ("m-00001-of-00001.gguf", "m-00001-of-00002.gguf")]
)
def test_a_missing_shard_is_noticed(paths: tuple[str, ...]) -> None:
    with pytest.raises(BadAnswer):
        check_shards(gguf_groups(files(*paths))[0], "org/name")


def test_projectors_and_importance_matrices_are_not_models() -> None:
    assert gguf_groups(files("mmproj-model-f16.gguf", "model.imatrix.gguf", "model-mmproj-Q8_0.gguf")) == []


def test_groups_answer_to_type_name_and_file_in_any_case() -> None:
    (group,) = gguf_groups(files("dir/My-Model-Q8_0.gguf"))
    names = ("q8_0", "my-model-q8_0", "My-Model-Q8_0.gguf", "dir/my-model-q8_0.gguf")
    assert [group.answers_to(name) for name in names] == [True, True, False, True]


def test_a_format_leaves_out_the_weights_of_the_others() -> None:
    repo = files("config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                 "pytorch_model.bin.index.json", "x.gguf", "onnx/model.onnx", "tf_model.h5")  # fmt: skip
    assert formats_of(repo) == ["safetensors", "pytorch", "onnx"]
    kept = [file.path for file in files_of_format(repo, "safetensors")]
    assert kept == ["config.json", "model.safetensors", "model.safetensors.index.json"]


def test_choices_are_types_by_size_and_then_formats() -> None:
    repo = files("a-Q8_0.gguf", "a-Q2_K.gguf", "model.safetensors")
    assert [choice.variant for choice in choices_of("o/n", repo)] == ["Q8_0", "Q2_K", "safetensors"]
