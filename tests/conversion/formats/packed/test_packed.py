"""Quantised checkpoints as plain tensors: what was packed number by number comes out again, in slabs of any size."""

import json

import numpy as np
import pytest

from conversion.formats.errors import HeaderError
from conversion.formats.packed import SCHEMES, UnpackedWeights, unpack
from conversion.formats.weights import Weights
from tests.conversion.formats.packed.checkpoints import checkpoint_of

N_OUT, N_IN, GROUP = 48, 64, 16
rng = np.random.default_rng(5)


def packed_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """int32 (rows, ceil(cols * bits / 32)): small numbers side by side, lowest bits first."""
    per_number = 32 // bits
    out = np.zeros((len(values), -(-values.shape[1] // per_number)), np.uint32)
    for row, column in np.ndindex(*values.shape):
        out[row, column // per_number] |= np.uint32(values[row, column]) << np.uint32(
            bits * (column % per_number)
        )
    return out.view(np.int32)


def assert_gives(weights: Weights, name: str, expected: np.ndarray) -> None:
    """All rows at once, and slab by slab from anywhere."""
    flat = expected.reshape(-1, expected.shape[-1])
    assert weights.entries[name].shape == expected.shape
    np.testing.assert_array_equal(weights.rows(name, 0, len(flat)), flat)
    for first, count in ((0, 1), (5, 7), (len(flat) - 3, 3)):
        np.testing.assert_array_equal(weights.rows(name, first, count), flat[first : first + count])
    assert weights.read_rows(name, 5, 2) == flat[5:7].astype("<f4").tobytes()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
def test_gptq_by_its_formula(bits: int, version: str) -> None:
    quants = rng.integers(0, 2**bits, (N_IN, N_OUT))
    zeros = rng.integers(1, 2**bits, (N_IN // GROUP, N_OUT))
    groups = rng.permutation(
        np.arange(N_IN) // GROUP
    )  # act-order: inputs are not in the order of their groups
    scales = rng.standard_normal((N_IN // GROUP, N_OUT)).astype(np.float16)
    stored = zeros - (version == "gptq")
    weights = unpack(
        checkpoint_of({
            "a.norm": np.ones(4, np.float32),
            "x.g_idx": groups.astype(np.int32),
            "x.qweight": packed_bits(quants.T, bits).T,
            "x.qzeros": packed_bits(stored, bits),
            "x.scales": scales,
        }),
        {"quantization_config": {"quant_method": "gptq", "bits": bits, "checkpoint_format": version}},
    )  # fmt: skip
    assert list(weights.entries) == ["a.norm", "x.weight"]
    expected = np.empty((N_OUT, N_IN), np.float32)
    for out, i in np.ndindex(N_OUT, N_IN):
        expected[out, i] = np.float32(scales[groups[i], out]) * np.float32(
            quants[i, out] - zeros[groups[i], out]
        )
    assert_gives(weights, "x.weight", expected)
    assert weights.rows("a.norm", 0, 1).tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("group_size", [GROUP, -1])
def test_awq_by_its_formula(group_size: int) -> None:
    group = GROUP if group_size > 0 else N_IN
    quants = rng.integers(0, 16, (N_IN, N_OUT))
    zeros = rng.integers(0, 16, (N_IN // group, N_OUT))
    scales = rng.standard_normal((N_IN // group, N_OUT)).astype(np.float16)
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])

    def in_its_order(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1, 8)[:, :, order].reshape(len(values), -1)

    weights = unpack(
        checkpoint_of({
            "x.qweight": packed_bits(in_its_order(quants), 4),
            "x.qzeros": packed_bits(in_its_order(zeros), 4),
            "x.scales": scales,
        }),
        {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": group_size, "version": "GEMM"}},
    )  # fmt: skip
    expected = np.empty((N_OUT, N_IN), np.float32)
    for out, i in np.ndindex(N_OUT, N_IN):
        expected[out, i] = np.float32(scales[i // group, out]) * np.float32(
            quants[i, out] - zeros[i // group, out]
        )
    assert_gives(weights, "x.weight", expected)


def bitsandbytes_state(**more: object) -> np.ndarray:
    said = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [N_OUT, N_IN], **more}
    return np.frombuffer(json.dumps(said).encode(), np.uint8)


@pytest.mark.parametrize("is_nested", [False, True])
def test_bitsandbytes_four_bits_by_its_formula(is_nested: bool) -> None:
    codes = rng.integers(0, 16, N_OUT * N_IN).astype(np.uint8)
    table = np.sort(rng.uniform(-1, 1, 16)).astype(np.float32)
    n_blocks = codes.size // 64
    tensors = {
        "x.weight": ((codes[0::2] << 4) | codes[1::2])[:, None],
        "x.weight.quant_map": table,
        "x.weight.quant_state.bitsandbytes__nf4": bitsandbytes_state(),
    }
    scales = rng.uniform(0.5, 2, n_blocks).astype(np.float32)
    if is_nested:
        nested_codes = rng.integers(0, 256, n_blocks).astype(np.uint8)
        nested_table = np.linspace(-1, 1, 256, dtype=np.float32)
        nested = rng.uniform(0.5, 2, -(-n_blocks // 32)).astype(np.float32)
        tensors |= {
            "x.weight.absmax": nested_codes,
            "x.weight.nested_quant_map": nested_table,
            "x.weight.nested_absmax": nested,
            "x.weight.quant_state.bitsandbytes__nf4": bitsandbytes_state(
                nested_blocksize=32, nested_offset=0.25
            ),
        }
        scales = np.array(
            [nested_table[code] * nested[at // 32] + np.float32(0.25) for at, code in enumerate(nested_codes)]
        )
    else:
        tensors["x.weight.absmax"] = scales
    weights = unpack(checkpoint_of(tensors), {"quantization_config": {"quant_method": "bitsandbytes"}})
    assert list(weights.entries) == ["x.weight"]
    expected = np.array([table[code] * scales[at // 64] for at, code in enumerate(codes)], np.float32)
    assert_gives(weights, "x.weight", expected.reshape(N_OUT, N_IN))


def test_bitsandbytes_rounds_to_the_dtype_its_state_names() -> None:
    tensors = {
        "x.weight": np.full((N_OUT * N_IN // 2, 1), 0x11, np.uint8),
        "x.weight.quant_map": np.full(16, 1 / 3, np.float32),
        "x.weight.absmax": np.ones(N_OUT * N_IN // 64, np.float32),
        "x.weight.quant_state.bitsandbytes__nf4": bitsandbytes_state(dtype="bfloat16"),
    }
    weights = unpack(checkpoint_of(tensors), {"quantization_config": {"quant_method": "bitsandbytes"}})
    assert weights.rows("x.weight", 0, 1)[0, 0] == np.float32(0.333984375)


def test_bitsandbytes_eight_bits_by_its_formula() -> None:
    quants = rng.integers(-127, 128, (N_OUT, N_IN)).astype(np.int8)
    scales = rng.uniform(0.5, 2, N_OUT).astype(np.float32)
    tensors = {"x.weight": quants, "x.SCB": scales, "x.weight_format": np.zeros(1, np.uint8)}
    weights = unpack(checkpoint_of(tensors), {"quantization_config": {"quant_method": "bitsandbytes"}})
    assert list(weights.entries) == ["x.weight"]
    assert_gives(weights, "x.weight", quants * (scales[:, None] / np.float32(127)))


@pytest.mark.parametrize("is_symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_compressed_tensors_packed_by_its_formula(bits: int, is_symmetric: bool) -> None:
    quants = rng.integers(0, 2**bits, (N_OUT, N_IN))
    zeros = rng.integers(0, 2**bits, (N_OUT, N_IN // GROUP))
    scales = rng.standard_normal((N_OUT, N_IN // GROUP)).astype(np.float32)
    tensors = {
        "x.weight_packed": packed_bits(quants, bits),
        "x.weight_scale": scales,
        "x.weight_shape": np.array([N_OUT, N_IN]),
    }
    if not is_symmetric:
        tensors["x.weight_zero_point"] = packed_bits(zeros.T, bits).T
    said = {"num_bits": bits, "strategy": "group", "group_size": GROUP, "type": "int"}
    weights = unpack(checkpoint_of(tensors), compressed("pack-quantized", said))
    assert list(weights.entries) == ["x.weight"]
    offsets = np.full_like(zeros, 2 ** (bits - 1)) if is_symmetric else zeros
    by_column = np.arange(N_IN) // GROUP
    assert_gives(
        weights, "x.weight", (quants - offsets[:, by_column]).astype(np.float32) * scales[:, by_column]
    )


def test_compressed_tensors_whole_numbers_with_a_scale_a_row() -> None:
    quants = rng.integers(-127, 128, (N_OUT, N_IN)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (N_OUT, 1)).astype(np.float32)
    tensors = {"x.weight": quants, "x.weight_scale": scales, "x.input_scale": np.ones(1, np.float32)}
    weights = unpack(
        checkpoint_of(tensors), compressed("int-quantized", {"num_bits": 8, "strategy": "channel"})
    )
    assert list(weights.entries) == ["x.weight"]
    assert_gives(weights, "x.weight", quants.astype(np.float32) * scales)


def test_fp8_blocks_that_do_not_divide_the_matrix() -> None:
    stored = rng.integers(0, 0x7E, (3, 40, 70)).astype(np.uint8)
    scales = rng.uniform(0.5, 2, (3, 2, 3)).astype(np.float32)
    tensors = {"x.weight": stored, "x.weight_scale_inv": scales, "x.activation_scale": np.ones(1, np.float32)}
    plain = checkpoint_of(tensors, {"x.weight": "F8_E4M3"})
    weights = unpack(plain, {"quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 32]}})
    assert list(weights.entries) == ["x.weight"]
    values = plain.rows("x.weight", 0, 120).reshape(3, 40, 70)
    expected = np.empty_like(values)
    for matrix, row, column in np.ndindex(*values.shape):
        expected[matrix, row, column] = values[matrix, row, column] * scales[matrix, row // 32, column // 32]
    assert_gives(weights, "x.weight", expected)


@pytest.mark.parametrize(
    ("shape", "suffix"), [((1,), "_scale_inv"), ((40, 1), "_scale_inv"), ((), "_scale_inv")]
)
def test_fp8_with_one_scale_or_one_a_row(shape: tuple[int, ...], suffix: str) -> None:
    stored = rng.integers(0, 0x7E, (40, 64)).astype(np.uint8)
    scales = rng.uniform(0.5, 2, shape).astype(np.float32)
    plain = checkpoint_of({"x.weight": stored, f"x.weight{suffix}": scales}, {"x.weight": "F8_E4M3"})
    weights = unpack(plain, {"quantization_config": {"quant_method": "fp8"}})
    assert_gives(weights, "x.weight", plain.rows("x.weight", 0, 40) * scales)


def test_nvfp4_by_its_formula() -> None:
    codes = rng.integers(0, 16, (N_OUT, N_IN)).astype(np.uint8)
    scales = rng.integers(0x20, 0x50, (N_OUT, N_IN // 16)).astype(np.uint8)
    tensors = {
        "x.weight_packed": codes[:, 0::2] | (codes[:, 1::2] << 4),
        "x.weight_scale": scales,
        "x.weight_global_scale": np.array([3.5], np.float32),
    }
    plain = checkpoint_of(tensors, {"x.weight_scale": "F8_E4M3"})
    weights = unpack(plain, compressed("nvfp4-pack-quantized", {}))
    magnitudes = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    values = np.array([magnitudes[code & 7] * (-1 if code & 8 else 1) for code in codes.flat], np.float32)
    by_column = plain.rows("x.weight_scale", 0, N_OUT)[:, np.arange(N_IN) // 16] / np.float32(3.5)
    assert_gives(weights, "x.weight", values.reshape(N_OUT, N_IN) * by_column)


def test_mxfp4_is_turned_round_expert_by_expert() -> None:
    codes = rng.integers(0, 16, (2, N_OUT, 2, 32)).astype(np.uint8)  # (experts, outputs, groups, values)
    exponents = rng.integers(120, 134, (2, N_OUT, 2)).astype(np.uint8)
    tensors = {"x_blocks": codes[..., 0::2] | (codes[..., 1::2] << 4), "x_scales": exponents}
    weights = unpack(checkpoint_of(tensors), {"quantization_config": {"quant_method": "mxfp4"}})
    magnitudes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = magnitudes[codes & 7] * np.where(codes & 8, np.float32(-1), np.float32(1))
    scaled = values * np.float32(2) ** (exponents[..., None].astype(np.float32) - 127)
    assert_gives(weights, "x", scaled.reshape(2, N_OUT, 64).swapaxes(1, 2))


def compressed(kind: str, said: dict) -> dict:
    settings = {
        "quant_method": "compressed-tensors",
        "format": kind,
        "config_groups": {"group_0": {"weights": said}},
    }
    return {"quantization_config": settings}


def test_without_a_quantization_config_nothing_changes() -> None:
    plain = checkpoint_of({"x": np.ones(4, np.float32)})
    assert unpack(plain, {}) is plain


BAD = {
    "packed-unknown": ({}, {"quant_method": "wishful"}),
    "packed-part": ({"x.qweight": np.zeros((8, 48), np.int32)}, {"quant_method": "gptq", "bits": 4}),
    "packed-config": ({}, {"quant_method": "gptq", "bits": 3}),
    "packed-shape": (
        {"x.weight": np.zeros((4, 4), np.int8), "x.SCB": np.zeros(3, np.float32)}, {"quant_method": "bitsandbytes"},
    ),
    "packed-state": (
        {"x.weight": np.zeros((8, 1), np.uint8), "x.weight.quant_state.bitsandbytes__nf4": np.zeros(9, np.uint8)},
        {"quant_method": "bitsandbytes"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", BAD)
def test_what_does_not_fit_its_scheme_is_refused(code: str) -> None:
    tensors, said = BAD[code]
    with pytest.raises(HeaderError) as refused:
        unpack(checkpoint_of(tensors or {"x": np.ones(4, np.float32)}), {"quantization_config": said})
    assert refused.value.code == code


def test_an_input_of_a_group_that_is_not_there_is_refused() -> None:
    tensors = {
        "x.g_idx": np.full(8, 3, np.int32), "x.qweight": np.zeros((1, 8), np.int32),
        "x.qzeros": np.zeros((1, 1), np.int32), "x.scales": np.ones((1, 8), np.float16),
    }  # fmt: skip
    weights = unpack(checkpoint_of(tensors), {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(HeaderError) as refused:
        weights.rows("x.weight", 0, 1)
    assert refused.value.code == "packed-group"


def test_every_scheme_is_found_by_its_name_and_finds_nothing_in_a_plain_checkpoint() -> None:
    for method in SCHEMES:
        said = {"quant_method": method, "bits": 4, "group_size": 32, "format": "float-quantized",
                "config_groups": {"group_0": {"weights": {}}}}  # fmt: skip
        weights = unpack(checkpoint_of({"x": np.ones(4, np.float32)}), {"quantization_config": said})
        assert isinstance(weights, UnpackedWeights)
        assert list(weights.entries) == ["x"]
