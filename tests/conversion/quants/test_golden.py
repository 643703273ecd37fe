"""ggml's own bytes, for every type and both implementations: what it writes we write, what it refuses we refuse."""

import hashlib

import pytest

from conversion.quants import TYPES, QuantError, dequantize, quantize, type_by_name
from tests.conversion.quants.golden import (
    FOLDER,
    Vector,
    digest_of_floats,
    random_bytes,
    vectors,
)

GOLDEN_TYPES = [name for name in TYPES if (FOLDER / f"{name.lower()}.json").exists()]
REFUSALS = {"non-finite-weights", "scale-overflow", "aborts-in-ggml"}


@pytest.fixture(params=["numpy", "compiled"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOLDFAST_KERNELS", request.param)
    return str(request.param)


@pytest.mark.parametrize("vector", vectors(*GOLDEN_TYPES), ids=str)
def test_a_golden_vector_comes_out_bit_for_bit_or_is_refused(vector: Vector, implementation: str) -> None:
    if type_by_name(vector.type_name).quantize_blocks is None:
        return  # It can only be read, which random bytes prove below.
    if vector.status != "exact":
        with pytest.raises(QuantError) as refused:
            quantize(vector.values, vector.type_name, vector.weights)
        assert refused.value.code in REFUSALS
        return
    data = quantize(vector.values, vector.type_name, vector.weights)
    assert hashlib.sha256(data.tobytes()).hexdigest() == vector.sha256
    assert digest_of_floats(dequantize(data, vector.type_name, vector.cols)) == vector.dequant_sha256


@pytest.mark.parametrize("type_name", GOLDEN_TYPES)
def test_bytes_that_no_quantiser_made_decode_as_in_ggml(type_name: str, implementation: str) -> None:
    data, expected = random_bytes(type_name)
    assert digest_of_floats(dequantize(data.reshape(8, -1), type_name, 1024)) == expected
