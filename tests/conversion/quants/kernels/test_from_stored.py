"""The kernels between the 16-bit types, against the way through float32: every value there is, and every length."""

import numpy as np
import pytest

from conversion.quants import QuantError, converter, dequantize, quantize, type_by_name

EVERY_VALUE = np.arange(1 << 16, dtype="<u2")


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", "compiled")


def is_taken(values: np.ndarray, kind: str) -> np.ndarray:
    """Which values, by themselves, are not refused."""
    limit = 65520.0 if kind == "F16" else np.inf
    return np.isfinite(values) & (np.abs(values) < limit)


@pytest.mark.parametrize(("stored", "kind"), [("BF16", "F16"), ("F16", "BF16")])
def test_every_value_becomes_what_float32_makes_of_it(stored: str, kind: str) -> None:
    convert = converter(stored, type_by_name(kind))
    if convert is None:
        pytest.skip("this CPU has no float16")
    values = dequantize(EVERY_VALUE.view(np.uint8), stored, EVERY_VALUE.size)[0]
    taken = is_taken(values, kind)
    data = EVERY_VALUE[taken].view(np.uint8).reshape(1, -1)
    out = np.empty_like(data)
    assert convert(data, out)
    assert out.tobytes() == quantize(values[taken].reshape(1, -1), kind).tobytes()
    for bits in EVERY_VALUE[~taken][::61]:
        assert not convert(np.full(33, bits).view(np.uint8).reshape(1, -1), np.empty((1, 66), np.uint8))


@pytest.mark.parametrize("n_values", [1, 31, 32, 33, 95])
def test_a_value_to_refuse_is_seen_wherever_it_is(n_values: int) -> None:
    convert = converter("BF16", type_by_name("F16"))
    if convert is None:
        pytest.skip("this CPU has no float16")
    for at in range(n_values):
        data = np.full(n_values, 0x3F80, dtype="<u2")
        out = np.empty((1, 2 * n_values), dtype=np.uint8)
        assert convert(data.view(np.uint8).reshape(1, -1), out)
        assert (out.view("<f2") == 1).all()
        data[at] = 0x7FC0
        assert not convert(data.view(np.uint8).reshape(1, -1), out)


def test_an_array_of_another_size_is_refused() -> None:
    convert = converter("BF16", type_by_name("F16"))
    if convert is None:
        pytest.skip("this CPU has no float16")
    with pytest.raises(QuantError, match="to fill"):
        convert(np.zeros((1, 64), np.uint8), np.empty((1, 62), np.uint8))


def test_there_is_none_between_other_types() -> None:
    assert converter("BF16", type_by_name("Q8_0")) is None
    assert converter("F32", type_by_name("F16")) is None
