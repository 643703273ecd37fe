"""A GGUF from a GGUF: byte for byte the file that llama-quantize makes, or the refusal it gives."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.formats.gguf.weights import GgufWeights, open_gguf
from conversion.formats.imatrix import Imatrix, open_imatrix
from conversion.formats.source import BytesSource
from conversion.naming.base import NamingError
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.overrides import Overrides
from conversion.naming.plan import Wish
from conversion.naming.requantise import MARK, plan_requantised
from conversion.naming.slabs import file_pieces
from conversion.quants import dequantize, quantize
from tests.fixtures.requantised.models import (
    IMATRIX_FILE,
    MODELS,
    binary_imatrix,
    gguf_imatrix,
    importance,
    write_gguf,
)
from tests.fixtures.requantised.record import COUNTS

RECORDED = json.loads((Path(__file__).parents[2] / "fixtures/requantised/digests.json").read_text())
ALSO_QUICK = ("dense", "weighted", "IQ2_XS")


def case(model: str, how: str, kind: str) -> Any:
    """The types that take numpy seconds are left to `make soak`, but for one."""
    is_slow = kind.startswith(("IQ1", "IQ2", "IQ3")) and RECORDED[model][how][kind] is not None
    marks = [pytest.mark.soak] if is_slow and (model, how, kind) != ALSO_QUICK else []
    return pytest.param(model, how, kind, marks=marks)


CASES = [
    case(model, how, kind)
    for model in RECORDED
    for how in ("plain", "weighted")
    for kind in RECORDED[model][how]
]


def test_every_file_type_was_recorded() -> None:
    assert {kind for model in RECORDED.values() for kind in model["plain"]} == FILE_TYPES.keys()


def opened(data: bytes) -> GgufWeights:
    return open_gguf({"model.gguf": BytesSource(data)})


@pytest.fixture(scope="module")
def sources() -> Mapping[str, GgufWeights]:
    return {name: opened(write_gguf(model)) for name, model in MODELS.items()}


@pytest.fixture(scope="module")
def imatrices() -> Mapping[str, Imatrix]:
    forms = {name: gguf_imatrix(importance(model), COUNTS) for name, model in MODELS.items()}
    return {name: open_imatrix(BytesSource(data), IMATRIX_FILE) for name, data in forms.items()}


def requantised(source: GgufWeights, wish: Wish, **options: Any) -> bytes:
    plan = plan_requantised(source.entries, source.read_metadata(), wish, **options)
    return b"".join(piece.data for piece in file_pieces(plan, source, slab_elements=600))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("model", "how", "kind"), CASES)
def test_the_whole_file_is_that_of_llama_quantize(
    sources: Mapping[str, GgufWeights], imatrices: Mapping[str, Imatrix], model: str, how: str, kind: str
) -> None:
    wish = Wish(FILE_TYPES[kind], imatrix=imatrices[model] if how == "weighted" else None)
    expected = RECORDED[model][how][kind]
    if expected is None:
        with pytest.raises(NamingError, match="needs an importance matrix") as refused:
            requantised(sources[model], wish)
        assert refused.value.code == "imatrix-required"
    else:
        assert digest(requantised(sources[model], wish)) == expected


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("pure", Overrides(pure=True)),
        ("leave_output", Overrides(leave_output=True)),
        ("types", Overrides("F16", "Q8_0")),
        (
            "patterns",
            Overrides(tensor_types=((r"blk\.[0-3]\.ffn_down", "Q6_K"), ("ffn_down|attn_v", "Q5_0"))),
        ),
    ],
)
def test_demands_change_the_file_as_they_do_for_llama_quantize(
    sources: Mapping[str, GgufWeights], name: str, overrides: Overrides
) -> None:
    made = requantised(sources["dense"], Wish(FILE_TYPES["Q4_K_M"], overrides))
    assert digest(made) == RECORDED["dense"]["wished"][name]


def test_the_older_form_of_an_imatrix_weighs_alike(
    sources: Mapping[str, GgufWeights], imatrices: Mapping[str, Imatrix]
) -> None:
    """Counts that are powers of two, so that both forms can hold the same means."""
    means = {name: sums / np.float32(4) for name, sums in importance(MODELS["experts"]).items()}
    old = open_imatrix(BytesSource(binary_imatrix(means, calls=8)), IMATRIX_FILE)
    new = open_imatrix(BytesSource(gguf_imatrix(importance(MODELS["experts"]), 4)), IMATRIX_FILE)
    made = [requantised(sources["experts"], Wish(FILE_TYPES["Q4_0"], imatrix=one)) for one in (old, new)]
    assert made[0] == made[1] != requantised(sources["experts"], Wish(FILE_TYPES["Q4_0"]))


def test_a_quantised_source_is_refused_unless_it_is_allowed_and_then_the_file_says_so(
    sources: Mapping[str, GgufWeights],
) -> None:
    eight = requantised(sources["dense"], Wish(FILE_TYPES["Q8_0"]))
    with pytest.raises(NamingError, match="is Q8_0 already") as refused:
        requantised(opened(eight), Wish(FILE_TYPES["Q4_0"]))
    assert refused.value.code == "requantising-not-allowed"
    again = opened(requantised(opened(eight), Wish(FILE_TYPES["Q4_0"]), allow_requantize=True))
    assert again.metadata[MARK] == "Q8_0"
    name = "blk.3.attn_q.weight"
    rows = dequantize(np.frombuffer(opened(eight).read_rows(name, 0, 3), np.uint8), "Q8_0", 256)
    assert again.read_rows(name, 0, 3) == quantize(rows, "Q4_0").tobytes()


def test_a_file_that_has_its_types_already_is_copied_without_being_allowed_anything(
    sources: Mapping[str, GgufWeights],
) -> None:
    eight = requantised(sources["dense"], Wish(FILE_TYPES["Q8_0"]))
    assert requantised(opened(eight), Wish(FILE_TYPES["Q8_0"])) == eight


def test_an_imatrix_of_another_size_is_refused_by_the_name_of_the_weight(
    sources: Mapping[str, GgufWeights],
) -> None:
    sums = {"blk.0.ffn_down.weight": np.ones((1, 128), dtype=np.float32)}
    other = open_imatrix(BytesSource(gguf_imatrix(sums, 1)))
    with pytest.raises(NamingError, match=r"128 values for blk\.0\.ffn_down\.weight") as refused:
        requantised(sources["dense"], Wish(FILE_TYPES["Q4_K_M"], imatrix=other))
    assert refused.value.code == "imatrix-size"
    embedding = {"token_embd.weight": np.ones((1, 128), dtype=np.float32)}
    let_pass = open_imatrix(BytesSource(gguf_imatrix(embedding, 1)))
    assert requantised(sources["dense"], Wish(FILE_TYPES["Q8_0"], imatrix=let_pass))


def test_a_plan_to_look_at_may_lack_its_imatrix_and_says_for_what(sources: Mapping[str, GgufWeights]) -> None:
    source = sources["dense"]
    wish = Wish(FILE_TYPES["IQ2_XXS"], is_dry_run=True)
    plan = plan_requantised(source.entries, source.read_metadata(), wish)
    assert plan.lacks == ("blk.0.attn_k.weight", "IQ2_XXS")
