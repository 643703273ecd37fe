"""The figures of variants, out of headers and validations."""

from typing import Any

import pytest

from registry.figures import figures_of
from registry.models import Blob, Commit, Header, Validation
from registry.variants import variants_of
from tests.checkpoints import record_commit

LLAMA = {
    "general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096,
    "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8, "llama.context_length": 131072,
}  # fmt: skip
PER_TOKEN = 32 * 8 * (128 + 128) * 2


def read(blob: Blob, format_name: str, n_parameters: int, **metadata: Any) -> None:
    Header.objects.create(blob=blob, format=format_name, parameter_count=n_parameters, metadata=metadata)


def figures(commit: Commit) -> dict[str, dict[str, Any]]:
    variants = variants_of(commit.repo, commit)
    return {
        variant.name: found for variant, found in zip(variants, figures_of(variants, commit), strict=True)
    }


@pytest.fixture
def gguf(db: None) -> Commit:
    """A model of 100 parameters, whole and in two shards."""
    files = {f"m-F16-0000{n}-of-00002.gguf": b"%d" % n * 100 for n in (1, 2)}
    commit = record_commit("acme/m-GGUF", files | {"m-Q4_0.gguf": b"q" * 57})
    for file in commit.files.select_related("blob"):
        read(file.held, "gguf", 50 if "of" in file.path else 100, **LLAMA)
    return commit


def test_a_gguf_file_says_what_it_needs(gguf: Commit) -> None:
    found = figures(gguf)["Q4_0"]
    assert (found["parameter_count"], found["bits_per_weight"]) == (100, 4.56)
    assert (found["context_length"], found["cache_bytes_per_token"]) == (131072, PER_TOKEN)
    assert found["mean_kld"] is None


def test_shards_count_together(gguf: Commit) -> None:
    found = figures(gguf)["F16"]
    assert (found["parameter_count"], found["bits_per_weight"]) == (100, 16.0)
    assert found["cache_bytes_per_token"] == PER_TOKEN


def test_what_one_shard_does_not_say_is_not_guessed(gguf: Commit) -> None:
    Header.objects.filter(blob__files__path="m-F16-00002-of-00002.gguf").update(error_code="gguf-truncated")
    assert figures(gguf)["F16"]["bits_per_weight"] is None


def test_the_run_that_counts_gives_the_distances(gguf: Commit) -> None:
    blob = gguf.files.get(path="m-Q4_0.gguf").held
    for kld, verdict in [(0.5, "verified"), (0.02, "verified"), (9.0, "untested")]:
        Validation.objects.create(
            blob=blob, path="m", verdict=verdict, parent=gguf, passed=True, report={}, engine="x", mean_kld=kld,
            top1_agreement=0.9, perplexity_ratio=1.01,
        )  # fmt: skip
    found = figures(gguf)["Q4_0"]
    assert (found["mean_kld"], found["top1_agreement"], found["perplexity_ratio"]) == (0.02, 0.9, 1.01)


def test_heads_by_layer_count_as_the_largest(gguf: Commit) -> None:
    heads = {"type": "uint32", "length": 32, "first": [0, 4, 4]}
    header = Header.objects.get(blob__files__path="m-Q4_0.gguf")
    Header.objects.filter(pk=header.pk).update(metadata=LLAMA | {"llama.attention.head_count_kv": heads})
    assert figures(gguf)["Q4_0"]["cache_bytes_per_token"] == PER_TOKEN // 2


@pytest.mark.parametrize("nonsense", [-1, 0, True, "8", 2**70, [1], {"first": []}, None, 1.5])
def test_numbers_that_cannot_be_are_not_believed(gguf: Commit, nonsense: Any) -> None:
    wrong = LLAMA | {"llama.block_count": nonsense, "llama.context_length": nonsense}
    Header.objects.update(metadata=wrong)
    found = figures(gguf)["Q4_0"]
    assert (found["cache_bytes_per_token"], found["context_length"]) == (None, None)


def test_a_checkpoint_is_told_from_its_config(db: None) -> None:
    config = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64}
    commit = record_commit(
        "acme/m", {"model.safetensors": b"w" * 64}, facts={"config": config}, context_length=256
    )
    read(commit.files.get().held, "safetensors", 32)
    found = figures(commit)["safetensors"]
    assert (found["bits_per_weight"], found["context_length"]) == (16.0, 256)
    assert found["cache_bytes_per_token"] == 2 * 2 * (16 + 16) * 2
