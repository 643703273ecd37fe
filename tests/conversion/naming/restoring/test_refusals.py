"""What cannot be restored keeps GGUF's names, with a code and a reason that names what stood in the way."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conversion.formats.errors import HeaderError
from conversion.formats.gguf import Value, array, boolean, float32, int32, plan_file, string, uint32
from conversion.formats.gguf.splitting import copied
from conversion.formats.gguf.types import ValueType
from conversion.formats.gguf.weights import GgufWeights
from conversion.naming.base import NamingError
from conversion.naming.restoring import restored
from conversion.naming.restoring.settings import FACTORS
from tests.conversion.naming.restoring.test_round_trip import gguf_of, opened
from tests.fixtures.architectures.fixture import Fixture


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> GgufWeights:
    return opened(gguf_of(Fixture("llama-3-tiny").write(tmp_path_factory.mktemp("llama"))))


def changed(weights: GgufWeights, *, without: str = "", **values: Value) -> GgufWeights:
    """The same GGUF with other metadata, or without one tensor; `__` in a key stands for a dot."""
    metadata = weights.read_metadata() | {key.replace("__", "."): value for key, value in values.items()}
    kept = [entry for entry in weights.entries.values() if entry.name != without]
    layout = plan_file(metadata, [(entry.name, entry.shape, entry.dtype) for entry in kept])
    return opened(b"".join(copied(weights, layout)))


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "architecture-not-restored": ("mamba", {"general__architecture": string("mamba")}),
    "a key that no config gives": ("attention.scale", {"llama__attention__scale": float32(0.5)}),
    "a list where a number must be": (
        "head_count_kv",
        {"llama__attention__head_count_kv": array(ValueType.UINT32, [1, 2])},
    ),
    "factors of an unknown RoPE": ("rope_freqs", {"llama__rope__freq_base": float32(1234.0)}),
    "a size that is not the tensors'": ("blk.2.", {"llama__block_count": uint32(3)}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_restored_is_said_by_name(llama: GgufWeights, case: str) -> None:
    named, values = REFUSED[case]
    with pytest.raises(NamingError) as refused:
        restored(changed(llama, **values))
    assert refused.value.code.endswith("-not-restored")
    assert named in refused.value.message


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "token_embd.weight", "output_norm.weight"])
def test_a_gguf_that_lacks_a_tensor_is_not_restored(llama: GgufWeights, name: str) -> None:
    with pytest.raises(NamingError, match=name) as refused:
        restored(changed(llama, without=name))
    assert refused.value.code == "tensor-not-restored"


def test_without_factors_a_llama_has_a_plain_rope(llama: GgufWeights) -> None:
    found = restored(changed(llama, without="rope_freqs.weight"))
    assert b'"rope_theta": 500000.0' in found.files["config.json"]
    assert b'"rope_scaling"' not in found.files["config.json"]


def test_a_tokenizer_that_is_not_known_is_left_out_and_said(llama: GgufWeights) -> None:
    found = restored(changed(llama, tokenizer__ggml__pre=string("nobody's")))
    assert list(found.files) == ["config.json"]
    (said,) = found.lost
    assert said.startswith("tokenizer-not-restored: the rules of its pre-tokenizer nobody's")


def test_what_changes_nothing_is_not_asked(llama: GgufWeights) -> None:
    assert restored(changed(llama, llama__rope__scaling__finetuned=boolean(False))).lost == ()


def test_a_family_without_a_way_back_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(NamingError, match="a GGUF of deepseek2 keeps its own names") as refused:
        restored(opened(gguf_of(Fixture("deepseek-v3-tiny").write(tmp_path))))
    assert refused.value.code == "architecture-not-restored"


ODD = (
    string("x" * 70), string("\udcff"), boolean(True), uint32(0), int32(-5), Value(ValueType.UINT64, 2**63),
    float32(float("nan")), float32(float("inf")), array(ValueType.STRING, ["a", "b"]),
    array(ValueType.FLOAT32, [1.5] * 320), array(ValueType.INT32, [-1] * 320),
)  # fmt: skip


@pytest.mark.parametrize("name", ["llama-3-tiny", "phi3-long-tiny"])
def test_whatever_the_metadata_says_the_answer_is_a_checkpoint_or_a_code(name: str, tmp_path: Path) -> None:
    weights = opened(gguf_of(Fixture(name).write(tmp_path)))
    for key in weights.metadata:
        for odd in ODD:
            with suppress(NamingError, HeaderError):
                found = restored(changed(weights, **{key.replace(".", "__"): odd}))
                assert "config.json" in found.files, key


def test_factors_of_a_rope_that_fill_the_memory_are_not_read(llama: GgufWeights) -> None:
    layout = plan_file(
        llama.read_metadata(), [(FACTORS, (1 << 20,), "F32")] + [
            (entry.name, entry.shape, entry.dtype) for entry in llama.entries.values() if entry.name != FACTORS
        ],
    )  # fmt: skip
    large = opened(layout.header_bytes.ljust(layout.size_bytes, b"\0"))
    with pytest.raises(NamingError, match="rope_freqs") as refused:
        restored(large)
    assert refused.value.code == "config-not-restored"
