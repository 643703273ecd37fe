"""Which type each tensor gets: as llama-quantize chooses, on models it was asked about."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.naming.base import NamingError
from conversion.naming.file_types import (
    FILE_TYPES,
    Asked,
    choose_types,
    converter_types,
    file_type_by_name,
    first_without_imatrix,
    quantised_order,
)
from conversion.naming.mixtures import ModelFacts
from conversion.naming.overrides import Overrides

GOLDEN = json.loads((Path(__file__).parents[2] / "fixtures/golden/tensor_types.json").read_text())["models"]


def model_tensors(hparams: dict[str, Any]) -> list[Asked]:
    """Every tensor of a synthetic model, BF16 but for the vectors."""
    hidden, ffn, vocab = hparams["E"], hparams["F"], hparams["V"]
    keys = hidden // hparams["H"] * hparams["KV"]
    found: dict[str, tuple[int, ...]] = {"token_embd": (vocab, hidden), "output_norm": (hidden,)}
    if not hparams.get("tied"):
        found["output"] = (vocab, hidden)
    for layer in range(hparams["L"]):
        found |= {f"blk.{layer}.{name}": shape for name, shape in _layer(hparams, hidden, ffn, keys).items()}
    return [
        Asked(f"{name}.weight", shape, "BF16" if len(shape) > 1 else "F32") for name, shape in found.items()
    ]


def _layer(hparams: dict[str, Any], hidden: int, ffn: int, keys: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"attn_norm": (hidden,), "attn_output": (hidden, hidden)}
    if hparams["arch"] in {"phi3", "falcon"}:
        shapes["attn_qkv"] = (hidden + 2 * keys, hidden)
    else:
        shapes |= {"attn_q": (hidden, hidden), "attn_k": (keys, hidden), "attn_v": (keys, hidden)}
    gated = hparams["arch"] not in {"phi3", "falcon"}
    if n := hparams.get("experts"):
        shapes |= {"ffn_gate_exps": (n, ffn, hidden), "ffn_up_exps": (n, ffn, hidden)}
        return shapes | {
            "ffn_down_exps": (n, hidden, ffn),
            "ffn_gate_inp": (n, hidden),
            "ffn_norm": (hidden,),
        }
    width = 2 * ffn if hparams["arch"] == "phi3" else ffn
    shapes |= {"ffn_up": (width, hidden), "ffn_down": (hidden, ffn)}
    return shapes | ({"ffn_gate": (ffn, hidden), "ffn_norm": (hidden,)} if gated else {})


def facts(hparams: dict[str, Any]) -> ModelFacts:
    return ModelFacts(hparams["arch"], hparams["L"], hparams["H"], hparams["KV"], hparams.get("experts", 0))


def expected_type(chosen: dict[str, Any], tensor: Asked) -> str:
    parts = tensor.name.split(".")
    found = chosen.get(".".join("*" if part.isdecimal() else part for part in parts), tensor.type_name)
    return found[int(parts[1])] if isinstance(found, list) else found


def test_the_models_and_file_types_are_all_there() -> None:
    assert len(GOLDEN) == 10
    kinds = {kind for model in GOLDEN.values() for kind in [*model["types"], *model["fails"]]}
    assert kinds == FILE_TYPES.keys() - {"F32"}
    assert len(kinds) == 34


@pytest.mark.parametrize("model", GOLDEN)
def test_types_are_those_of_llama_quantize(model: str) -> None:
    golden = GOLDEN[model]
    tensors, of_model = model_tensors(golden["hparams"]), facts(golden["hparams"])
    for kind, chosen in golden["types"].items():
        types = choose_types(tensors, FILE_TYPES[kind], of_model)
        expected = [expected_type(chosen, tensor) for tensor in tensors]
        names = [tensor.name for tensor in tensors]
        assert list(zip(names, types, strict=True)) == list(zip(names, expected, strict=True)), kind
        chosen_types = list(zip(names, types, strict=True))
        assert bool(first_without_imatrix(chosen_types, FILE_TYPES[kind])) == (
            kind in golden["needs_imatrix"]
        ), kind


@pytest.mark.parametrize("model", [model for model in GOLDEN if GOLDEN[model]["fails"]])
def test_files_that_llama_quantize_refuses_are_refused_by_name(model: str) -> None:
    tensors, of_model = model_tensors(GOLDEN[model]["hparams"]), facts(GOLDEN[model]["hparams"])
    for kind in GOLDEN[model]["fails"]:
        with pytest.raises(NamingError, match="do not divide") as refused:
            choose_types(tensors, FILE_TYPES[kind], of_model)
        assert refused.value.code == "row-not-divisible"


def test_every_number_is_that_of_llama_cpp() -> None:
    numbers = {
        kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): kind.value for kind in gguf.LlamaFileType
    }
    ours = {kind.name: kind.number for kind in FILE_TYPES.values()}
    assert ours == {name: numbers.get(name, 41) for name in FILE_TYPES}  # gguf 0.19.0 does not know Q2_0


def test_every_type_is_one_of_ggml() -> None:
    assert {kind.default for kind in FILE_TYPES.values()} <= TYPE_BY_NAME.keys()


def test_names_are_understood_in_any_case_and_an_unknown_one_lists_what_there_is() -> None:
    assert file_type_by_name("q4_k_m") is file_type_by_name("Q4_K") is FILE_TYPES["Q4_K_M"]
    with pytest.raises(NamingError, match="'Q9' is not one of F32, F16, BF16, Q8_0"):
        file_type_by_name("Q9")


def test_quantised_files_are_ordered_by_layer_number_then_name() -> None:
    names = ["blk.10.a", "token_embd.weight", "blk.2.b", "output_norm.weight", "blk.2.a", "output.weight"]
    ordered = ["output.weight", "output_norm.weight", "token_embd.weight", "blk.2.a", "blk.2.b", "blk.10.a"]
    assert quantised_order(names) == ordered


LLAMA = model_tensors(GOLDEN["llama_gqa4_24l"]["hparams"])
OF_LLAMA = facts(GOLDEN["llama_gqa4_24l"]["hparams"])


def types_of(kind: str, overrides: Overrides | None = None, *, has_imatrix: bool = False) -> dict[str, str]:
    chosen = choose_types(LLAMA, FILE_TYPES[kind], OF_LLAMA, overrides, has_imatrix=has_imatrix)
    return {tensor.name: name for tensor, name in zip(LLAMA, chosen, strict=True)}


def test_an_imatrix_changes_a_mixture_as_it_does_for_llama_quantize() -> None:
    assert types_of("Q4_0")["blk.0.ffn_down.weight"] == "Q4_0"
    with_one = types_of("Q4_0", has_imatrix=True)
    assert [with_one[f"blk.{n}.ffn_down.weight"] for n in (0, 2, 3)] == ["Q4_1", "Q4_1", "Q4_0"]
    assert types_of("IQ4_XS", has_imatrix=True)["blk.0.ffn_down.weight"] == "IQ4_XS"
    assert types_of("IQ4_XS")["blk.0.ffn_down.weight"] == "Q5_K"


def test_pure_gives_every_tensor_the_same_type() -> None:
    assert set(types_of("Q4_K_M", Overrides(pure=True)).values()) == {"F32", "Q4_K"}


def test_the_output_can_be_left_alone_or_given_a_type_and_so_can_the_embeddings() -> None:
    demands = Overrides(leave_output=True, token_embedding="Q2_K")
    assert types_of("Q4_K_M", demands)["output.weight"] == "BF16"
    assert types_of("Q4_K_M", demands)["token_embd.weight"] == "Q2_K"
    assert types_of("Q4_K_M", Overrides(output="F16"))["output.weight"] == "F16"


def test_the_first_matching_pattern_decides_and_the_mixture_goes_on_counting_without_it() -> None:
    demands = Overrides(tensor_types=((r"blk\.0\.ffn_down", "Q3_K"), ("ffn_down|attn_v", "Q5_K")))
    chosen = types_of("Q4_K_M", demands)
    assert chosen["blk.0.ffn_down.weight"] == "Q3_K"
    assert chosen["blk.1.ffn_down.weight"] == chosen["blk.9.attn_v.weight"] == "Q5_K"
    only_first = types_of("Q4_K_M", Overrides(tensor_types=((r"blk\.0\.ffn_down", "Q3_K"),)))
    counted = [only_first[f"blk.{n}.ffn_down.weight"] for n in range(1, 6)]
    assert counted == ["Q6_K", "Q6_K", "Q6_K", "Q4_K", "Q4_K"]  # one later than in the plain mixture


def test_a_type_that_is_demanded_of_rows_it_does_not_divide_is_refused_or_replaced() -> None:
    odd = [Asked("token_embd.weight", (64, 288), "F16"), Asked("blk.0.ffn_up.weight", (64, 288), "F16")]
    with pytest.raises(NamingError, match="token_embd"):
        choose_types(odd, FILE_TYPES["Q4_0"], overrides=Overrides(token_embedding="Q4_K"))
    named = Overrides(tensor_types=(("ffn_up", "Q4_K"),))
    assert choose_types(odd, FILE_TYPES["Q4_0"], overrides=named)[1] == "Q5_0"


def test_a_checkpoint_written_as_f16_keeps_as_f32_what_the_reference_converter_keeps() -> None:
    kept = [
        "blk.0.ffn_gate_inp.weight",
        "position_embd.weight",
        "blk.3.ssm_conv1d.weight",
        "rope_freqs",
        "a.bias",
    ]
    asked = [Asked(name, (8, 32)) for name in kept] + [Asked("blk.0.attn_q.weight", (8, 32))]
    assert converter_types(asked, FILE_TYPES["F16"]) == ["F32"] * 5 + ["F16"]


def test_a_row_of_one_is_a_vector_to_ggml_and_left_alone() -> None:
    asked = [Asked("blk.0.ffn_gate_inp_shexp.weight", (1, 256), "BF16")]
    assert choose_types(asked, FILE_TYPES["Q8_0"]) == ["BF16"]
