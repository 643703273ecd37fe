"""Which type each tensor gets: as llama-quantize chooses, on models it was asked about."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from conversion.naming.base import NamingError
from conversion.naming.file_types import FILE_TYPES, choose_types, file_type_by_name, quantised_order
from conversion.quants import TYPES

GOLDEN = json.loads((Path(__file__).parents[2] / "fixtures/golden/tensor_types.json").read_text())["models"]
CASES = [(model, kind) for model in GOLDEN for kind in GOLDEN[model]["types"]]


def model_shapes(hparams: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    hidden, ffn, vocab = hparams["E"], hparams["F"], hparams["V"]
    keys = hidden // hparams["H"] * hparams["KV"]
    found: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (vocab, hidden)),
        ("output_norm.weight", (hidden,)),
    ]
    if not hparams.get("tied"):
        found.append(("output.weight", (vocab, hidden)))
    for layer in range(hparams["L"]):
        matrices = {
            "attn_q": (hidden, hidden), "attn_k": (keys, hidden), "attn_v": (keys, hidden),
            "attn_output": (hidden, hidden), "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden),
            "ffn_down": (hidden, ffn), "attn_norm": (hidden,), "ffn_norm": (hidden,),
        }  # fmt: skip
        found += [(f"blk.{layer}.{name}.weight", shape) for name, shape in matrices.items()]
    return found


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_types_are_those_of_llama_quantize(model: str, kind: str) -> None:
    tensors = model_shapes(GOLDEN[model]["hparams"])
    if kind in GOLDEN[model]["fails"]:
        with pytest.raises(NamingError, match="do not divide") as refused:
            choose_types(tensors, FILE_TYPES[kind])
        assert refused.value.code == "row-not-divisible"
        return
    chosen = dict(zip((name for name, _ in tensors), choose_types(tensors, FILE_TYPES[kind]), strict=True))
    for name, shape in tensors:
        pattern = ".".join("*" if part.isdecimal() else part for part in name.split("."))
        expected = GOLDEN[model]["types"][kind].get(pattern, "F32" if len(shape) == 1 else None)
        assert chosen[name] == expected, name


def test_every_number_is_that_of_llama_cpp() -> None:
    numbers = {
        kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): kind.value for kind in gguf.LlamaFileType
    }
    assert {kind.name: kind.number for kind in FILE_TYPES.values()} == {
        name: numbers[name] for name in FILE_TYPES
    }


def test_every_type_a_file_may_hold_can_be_quantised() -> None:
    assert {kind.default for kind in FILE_TYPES.values()} | {
        kind.output for kind in FILE_TYPES.values()
    } <= set(TYPES)


def test_names_are_understood_in_any_case_and_an_unknown_one_lists_what_there_is() -> None:
    assert file_type_by_name("q8_0") is FILE_TYPES["Q8_0"]
    with pytest.raises(NamingError, match="'Q4_K_M' is not one of F32, F16, BF16, Q8_0, Q4_0"):
        file_type_by_name("Q4_K_M")


def test_quantised_files_are_ordered_by_layer_number_then_name() -> None:
    names = ["blk.10.a", "token_embd.weight", "blk.2.b", "output_norm.weight", "blk.2.a", "output.weight"]
    assert quantised_order(names) == [
        "output.weight", "output_norm.weight", "token_embd.weight", "blk.2.a", "blk.2.b", "blk.10.a",
    ]  # fmt: skip
