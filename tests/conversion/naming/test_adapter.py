"""A LoRA adapter becomes the reference's GGUF, byte for byte, or is merged into its base; anything else is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.formats.checkpoint import Checkpoint, open_checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.lora import Adapter, MergedWeights, open_adapter
from conversion.formats.source import FileSource
from conversion.naming.adapter import plan_adapter
from conversion.naming.base import NamingError
from conversion.naming.file_types import file_type_by_name
from conversion.naming.slabs import file_pieces
from tests.conversion.formats.packed.checkpoints import checkpoint_of
from tests.conversion.inference.ggufs import SAMPLES

FOLDER = SAMPLES / "lora-jargon-adapter"
BASE = SAMPLES / "base-bf16"
REFERENCE = json.loads((Path(__file__).parents[2] / "fixtures/lora/reference.json").read_text())
CONFIG = json.loads((FOLDER / "adapter_config.json").read_text())
BASE_CONFIG = json.loads((BASE / "config.json").read_text())
rng = np.random.default_rng(11)


def checkpoint(path: Path) -> Checkpoint:
    return open_checkpoint({path.name: FileSource(path)})


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return open_adapter(checkpoint(FOLDER / "adapter_model.safetensors"), CONFIG)


@pytest.mark.parametrize("type_name", REFERENCE)
def test_it_is_the_reference_s_file(adapter: Adapter, type_name: str) -> None:
    plan = plan_adapter(adapter, FOLDER, BASE_CONFIG, file_type_by_name(type_name))
    data = b"".join(piece.data for piece in file_pieces(plan, adapter.weights))
    assert hashlib.sha256(data).hexdigest() == REFERENCE[type_name]


def test_merged_it_is_the_base_plus_the_low_rank_sum(adapter: Adapter) -> None:
    base = checkpoint(BASE / "model.safetensors")
    merged = MergedWeights(base, adapter)
    assert list(merged.entries) == list(base.entries)
    name = "model.layers.1.self_attn.q_proj.weight"
    a, b = (
        adapter.weights.rows(one, 0, n)
        for one, n in ((adapter.pairs[name].a, 8), (adapter.pairs[name].b, 256))
    )
    expected = base.rows(name, 0, 256).astype(np.float64) + 2.0 * (
        b.astype(np.float64) @ a.astype(np.float64)
    )
    np.testing.assert_allclose(merged.rows(name, 0, 256), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(merged.rows(name, 17, 5), merged.rows(name, 0, 256)[17:22])
    assert merged.read_rows(name, 3, 2) == merged.rows(name, 3, 2).tobytes()
    untouched = "model.layers.1.self_attn.k_proj.weight"
    assert merged.read_rows(untouched, 0, 4) == base.read_rows(untouched, 0, 4)


def small(
    config: dict[str, Any], *, turned: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, MergedWeights]:
    """(W, A, B, merged) of a base with one weight, (6, 4) or turned (4, 6)."""
    a, b = rng.standard_normal((2, 4)).astype(np.float32), rng.standard_normal((6, 2)).astype(np.float32)
    w = rng.standard_normal((4, 6) if turned else (6, 4)).astype(np.float32)
    tensors = {"base_model.model.x.lora_A.weight": a, "base_model.model.x.lora_B.weight": b}
    adapter = open_adapter(checkpoint_of(tensors), {"peft_type": "LORA", "lora_alpha": 8, **config})
    return w, a, b, MergedWeights(checkpoint_of({"x.weight": w}), adapter)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 8 / 2),
        ({"use_rslora": True}, 8 / 2**0.5),
        ({"alpha_pattern": {"x": 3}}, 3 / 2),
        ({"rank_pattern": {"x": 4}}, 8 / 4),
        ({"alpha_pattern": {"other.x": 3}}, 8 / 2),
    ],
)
def test_the_scale_is_what_peft_makes_of_the_config(config: dict[str, Any], scale: float) -> None:
    w, a, b, merged = small(config)
    np.testing.assert_allclose(merged.rows("x.weight", 0, 6), w + scale * (b @ a), rtol=1e-5, atol=1e-5)


def test_a_base_that_lies_the_other_way_round_is_merged_so() -> None:
    w, a, b, merged = small({"fan_in_fan_out": True}, turned=True)
    np.testing.assert_allclose(merged.rows("x.weight", 0, 4), w + 4 * (b @ a).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(merged.rows("x.weight", 1, 2), merged.rows("x.weight", 0, 4)[1:3])


def test_whole_modules_take_the_place_of_the_base_s() -> None:
    tensors = {
        "base_model.model.x.lora_A.weight": np.ones((2, 4), np.float32),
        "base_model.model.x.lora_B.weight": np.ones((6, 2), np.float32),
        "base_model.model.head.modules_to_save.weight": np.full((3, 4), 7, np.float32),
    }
    adapter = open_adapter(checkpoint_of(tensors), {"peft_type": "LORA", "lora_alpha": 2})
    base = checkpoint_of(
        {"x.weight": np.zeros((6, 4), np.float32), "head.weight": np.zeros((3, 4), np.float32)}
    )
    merged = MergedWeights(base, adapter)
    assert merged.rows("head.weight", 0, 3).tolist() == [[7] * 4] * 3
    assert merged.rows("x.weight", 0, 1).tolist() == [[2] * 4]


A, B = "base_model.model.x.lora_A.weight", "base_model.model.x.lora_B.weight"
LORA = {"peft_type": "LORA", "lora_alpha": 2}
GOOD = {A: np.ones((2, 4), np.float32), B: np.ones((6, 2), np.float32)}
BAD = {
    "another kind": ("lora-variant", GOOD, LORA | {"peft_type": "IA3"}),
    "DoRA": ("lora-variant", GOOD, LORA | {"use_dora": True}),
    "no alpha": ("lora-config", GOOD, {"peft_type": "LORA"}),
    "one side": ("lora-pair", {A: GOOD[A]}, LORA),
    "other ranks": ("lora-pair", {A: GOOD[A], B: np.ones((6, 3), np.float32)}, LORA),
    "no pair": ("lora-pair", {"base_model.model.x.weight": np.ones((2, 2), np.float32)}, LORA),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_plain_lora_is_refused(case: str) -> None:
    code, tensors, config = BAD[case]
    with pytest.raises(HeaderError) as refused:
        open_adapter(checkpoint_of(tensors), config)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "base", [{"y.weight": np.zeros((6, 4), np.float32)}, {"x.weight": np.zeros((4, 6), np.float32)}]
)
def test_an_adapter_of_another_base_is_refused(base: dict[str, np.ndarray]) -> None:
    with pytest.raises(HeaderError) as refused:
        MergedWeights(checkpoint_of(base), open_adapter(checkpoint_of(GOOD), LORA))
    assert refused.value.code == "lora-base"


def test_a_type_for_whole_models_is_refused_for_an_adapter(adapter: Adapter) -> None:
    with pytest.raises(NamingError) as refused:
        plan_adapter(adapter, FOLDER, BASE_CONFIG, file_type_by_name("Q4_K_M"))
    assert refused.value.code == "adapter-type"
