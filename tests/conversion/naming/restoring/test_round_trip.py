"""Checkpoint -> GGUF -> checkpoint -> GGUF: every tensor comes back bit for bit, and the second GGUF is the first."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf.weights import GgufWeights, open_gguf
from conversion.formats.source import BytesSource
from conversion.formats.weights import Weights
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import in_reference_order, plan_gguf
from conversion.naming.restoring import Restored, restored
from conversion.naming.slabs import file_pieces
from conversion.naming.to_safetensors import plan_safetensors
from tests.conversion.naming.models import SAMPLES, open_folder
from tests.fixtures.architectures.fixture import Fixture, write_weights
from tests.fixtures.converted.record import describe

FAMILY = (
    "llama-2-tiny", "llama-3-tiny", "llama-json-tiny", "mistral-linear-tiny", "mistral-nemo-tiny", "mixtral-tiny",
    "qwen2-tiny", "qwen2-yarn-tiny", "qwen2-moe-tiny", "qwen3-tiny", "qwen3-moe-tiny", "gemma2-tiny", "gpt2-tiny",
    "smollm3-tiny", "granite-tiny", "olmo2-tiny", "olmo3-tiny", "stablelm-tiny", "phi3-tiny", "phi3-long-tiny",
    "phi3-longer-tiny", "phi4-tiny", "gpt-neox-tiny", "falcon-7b-tiny", "falcon-40b-tiny",
)  # fmt: skip


def gguf_of(folder: Path, kind: str = "F32") -> bytes:
    checkpoint = open_folder(folder)
    plan = plan_gguf(in_reference_order(checkpoint), folder, FILE_TYPES[kind])
    return b"".join(piece.data for piece in file_pieces(plan, checkpoint))


def opened(data: bytes) -> GgufWeights:
    return open_gguf({"model.gguf": BytesSource(data)})


def written(weights: Weights, found: Restored, dtype: str, folder: Path) -> Checkpoint:
    """The restored checkpoint in a folder, as a loader finds it."""
    planned = plan_safetensors(weights.entries, dtype, targets=found.targets)
    folder.mkdir(parents=True)
    for name, data in found.files.items():
        (folder / name).write_bytes(data)
    for name, plan in planned.files.items():
        data = b"".join(piece.data for piece in file_pieces(plan, weights))
        (folder / name).write_bytes(data)
    return open_folder(folder)


def differing(before: Checkpoint, after: Checkpoint) -> list[str]:
    assert set(before.entries) == set(after.entries)
    return [
        name
        for name, entry in before.entries.items()
        if (entry.shape, entry.dtype) != (after.entries[name].shape, after.entries[name].dtype)
        or before.read_tensor(name) != after.read_tensor(name)
    ]


def facts(data: bytes) -> dict[str, Any]:
    """Everything but the order of keys, and so the digest of the whole."""
    return {key: value for key, value in describe(BytesSource(data)).items() if key != "sha256"}


def there_and_back(folder: Path, dtype: str, tmp_path: Path) -> tuple[Checkpoint, Checkpoint]:
    data = gguf_of(folder)
    found = restored(opened(data))
    assert found.lost == ()
    again = tmp_path / "again" / folder.name
    after = written(opened(data), found, dtype, again)
    assert facts(gguf_of(again)) == facts(data)
    return open_folder(folder), after


@pytest.mark.parametrize("name", FAMILY)
def test_every_tensor_comes_back_bit_for_bit_and_makes_the_same_gguf(name: str, tmp_path: Path) -> None:
    fixture = Fixture(name)
    before, after = there_and_back(fixture.write(tmp_path), fixture.tensors[0][1], tmp_path)
    assert differing(before, after) == []
    tokenizer = Tokenizer.from_file(str(tmp_path / "again" / name / "tokenizer.json"))
    assert tokenizer.encode(fixture.reference["text"]).ids == fixture.reference["ids"]


def test_the_sample_family_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "base-bf16"
    shutil.copytree(SAMPLES / "base-bf16", folder)
    for name in ("README.md", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)
    before, after = there_and_back(folder, "BF16", tmp_path)
    assert differing(before, after) == []


@pytest.mark.parametrize("name", ["gemma-tiny", "gemma3-tiny"])
def test_a_norm_comes_back_exactly_where_adding_one_to_it_was_exact(name: str, tmp_path: Path) -> None:
    """1 + w is rounded to F16 for a Gemma in F16, to F32 for one in F32; what that rounding lost is lost."""
    fixture = Fixture(name)
    dtype = fixture.tensors[0][1]
    before, after = there_and_back(fixture.write(tmp_path), dtype, tmp_path)
    changed = differing(before, after)
    assert changed
    assert all(name.endswith("norm.weight") for name in changed)
    unit = {"F16": 2.0**-11, "F32": 2.0**-24}[dtype]
    for norm in changed:
        old, new = (one.rows(norm, 0, 1)[0] for one in (before, after))
        assert np.abs(new - old).max() <= unit
        exact = (old + np.float32(1)).astype(np.float64) == old.astype(np.float64) + 1
        if dtype == "F32":
            assert (new == old)[exact].all()


def test_a_gemma_in_bf16_comes_back_whole(tmp_path: Path) -> None:
    fixture = Fixture("gemma3-tiny")
    folder = fixture.write(tmp_path)
    in_bf16 = [(name, "BF16", shape) for name, _, shape in fixture.tensors]
    write_weights(folder / "model.safetensors", in_bf16, fixture.model["values"])
    before, after = there_and_back(folder, "BF16", tmp_path)
    assert differing(before, after) == []


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_quantised_gguf_comes_back_under_the_same_names(kind: str, tmp_path: Path) -> None:
    folder = Fixture("mixtral-wide").write(tmp_path)
    data = gguf_of(folder, kind)
    found = restored(opened(data))
    after = written(opened(data), found, "F32", tmp_path / "again")
    before = open_folder(folder)
    assert {name: entry.shape for name, entry in after.entries.items()} == {
        name: entry.shape for name, entry in before.entries.items()
    }
    for name in (
        "model.layers.1.block_sparse_moe.experts.3.w2.weight",
        "model.layers.0.self_attn.k_proj.weight",
    ):
        n_rows = before.entries[name].shape[0]
        old, new = before.rows(name, 0, n_rows), after.rows(name, 0, n_rows)
        assert float(np.sqrt(np.mean((new - old) ** 2)) / old.std()) < 0.12
