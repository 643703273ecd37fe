"""GPT-OSS's MXFP4 experts: moved bit by bit, so that both layouts stand for the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from conversion.naming import NamingError
from conversion.naming.gpt_oss import GPT_OSS, interleaved_to_halves, targets
from conversion.quants import dequantize
from tests.conversion.naming.models import open_folder
from tests.fixtures.architectures.fixture import Fixture

CODES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)
"""OCP Microscaling Formats, section 5.3.3: FP4 E2M1."""

FIXTURE = Fixture("gpt-oss-tiny")
CONFIG = {"num_hidden_layers": 2}
STEM = "model.layers.0.mlp.experts"


def naive(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The numbers a pair of tensors stands for: neighbours share a byte, the scale is a power of two."""
    values = np.stack([CODES[blocks & 15], CODES[blocks >> 4]], axis=-1)
    numbers = values.reshape(*blocks.shape[:-1], 32) * np.ldexp(
        np.float32(1), scales[..., None].astype(int) - 127
    )
    return numbers.reshape(*blocks.shape[:-2], -1).astype(np.float32)


def test_every_value_stays_what_it_was(tmp_path: Path) -> None:
    weights = open_folder(FIXTURE.write(tmp_path))
    shapes = {name: entry.shape for name, entry in weights.entries.items()}
    found = {target.name: target for target in targets(CONFIG, shapes)}

    def stored(name: str) -> np.ndarray:
        shape = weights.entries[name].shape
        n_rows = int(np.prod(shape[:-1]))
        return np.frombuffer(weights.read_rows(name, 0, n_rows), dtype=np.uint8).reshape(shape)

    gate_up = naive(stored(f"{STEM}.gate_up_proj_blocks"), stored(f"{STEM}.gate_up_proj_scales"))
    down = naive(stored(f"{STEM}.down_proj_blocks"), stored(f"{STEM}.down_proj_scales"))
    expected = {"gate": gate_up[:, ::2], "up": gate_up[:, 1::2], "down": down}
    for kind, numbers in expected.items():
        target = found[f"blk.0.ffn_{kind}_exps.weight"]
        assert target.packed is not None
        assert target.shape == numbers.shape
        for first, count in ((0, target.n_rows), (5, 3)):
            data = np.frombuffer(target.packed.read(weights, first, count), dtype=np.uint8)
            np.testing.assert_array_equal(
                dequantize(data, "MXFP4", target.n_cols),
                numbers.reshape(target.n_rows, -1)[first : first + count],
            )


def test_codes_are_moved_to_the_places_of_ggml() -> None:
    """Value i is in byte i % 16, in its low nibble if i < 16: the other nibble holds value i + 16."""
    chance = np.random.default_rng(3)
    values = chance.integers(0, 16, (7, 32), dtype=np.uint8)
    moved = interleaved_to_halves(values[:, ::2] | (values[:, 1::2] << 4))
    for place in range(16):
        np.testing.assert_array_equal(moved[:, place] & 15, values[:, place])
        np.testing.assert_array_equal(moved[:, place] >> 4, values[:, place + 16])


@pytest.mark.parametrize(
    "shapes",
    [
        {f"{STEM}.down_proj_scales": (4, 8, 2)},
        {f"{STEM}.down_proj_scales": (4, 8, 2), f"{STEM}.down_proj_blocks": (4, 8, 3, 16)},
        {f"{STEM}.down_proj_scales": (4, 8, 2), f"{STEM}.down_proj_blocks": (4, 8, 2, 8)},
        {f"{STEM}.gate_up_proj_scales": (4, 7, 2), f"{STEM}.gate_up_proj_blocks": (4, 7, 2, 16)},
        {f"{STEM}.gate_up_proj": (4, 8, 7)},
        {f"{STEM}.gate_up_proj_bias": (4, 7)},
        {f"{STEM}.gate_up_proj_bias": ()},
        {f"{STEM}.down_proj": (4, 8)},
    ],
)
def test_experts_of_a_shape_that_cannot_be_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(NamingError) as refused:
        targets(CONFIG, shapes)
    assert refused.value.code == "bad-shape"


def test_only_mxfp4_is_read_as_it_is_stored() -> None:
    assert GPT_OSS.unpacks == ("mxfp4",)
