"""Just enough protobuf to write small ONNX files, sound and unsound; the library would refuse the latter."""

from collections.abc import Iterable, Sequence

import numpy as np

FLOAT, INT8, INT32, INT64, STRING, FLOAT16 = 1, 3, 6, 7, 8, 10
EXTERNAL = 1


def varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def blob(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def packed(field: int, values: Iterable[int]) -> bytes:
    return blob(field, b"".join(varint(value) for value in values))


def tensor(name: str, dims: Sequence[int], kind: int, values: bytes) -> bytes:
    """A TensorProto; `values` are its field of values, written by `raw`, `packed` or `external`."""
    return b"".join(number(1, size) for size in dims) + number(2, kind) + blob(8, name) + values


def raw(array: np.ndarray) -> bytes:
    return blob(9, array.tobytes())


def external(**keys: str | int) -> bytes:
    entries = (blob(13, blob(1, key) + blob(2, str(value))) for key, value in keys.items())
    return b"".join(entries) + number(14, EXTERNAL)


def floats(name: str, array: np.ndarray) -> bytes:
    return tensor(name, array.shape, FLOAT, raw(array.astype("<f4")))


def attribute(name: str, kind: int, value: bytes) -> bytes:
    return blob(1, name) + value + number(20, kind)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes, name: str = "",
         domain: str = "") -> bytes:  # fmt: skip
    parts = [
        *(blob(1, one) for one in inputs),
        *(blob(2, one) for one in outputs),
        blob(3, name),
        blob(4, operator),
    ]
    return b"".join([*parts, *(blob(5, one) for one in attributes), *([blob(7, domain)] if domain else [])])


def port(name: str, kind: int, dims: Sequence[int | str]) -> bytes:
    shape = b"".join(blob(1, number(1, one) if isinstance(one, int) else blob(2, one)) for one in dims)
    return blob(1, name) + blob(2, blob(1, number(1, kind) + blob(2, shape)))


def graph(*, nodes: Sequence[bytes] = (), tensors: Sequence[bytes] = (), inputs: Sequence[bytes] = (),
          outputs: Sequence[bytes] = (), name: str = "graph") -> bytes:  # fmt: skip
    listed = [(1, nodes), (5, tensors), (11, inputs), (12, outputs)]
    return blob(2, name) + b"".join(blob(field, one) for field, many in listed for one in many)


def model(main: bytes, *, opset: int = 13, domains: Sequence[str] = ()) -> bytes:
    opsets = number(2, opset)
    more = b"".join(blob(8, blob(1, domain) + number(2, 1)) for domain in domains)
    return number(1, 7) + blob(2, "holdfast") + blob(7, main) + blob(8, blob(1, "") + opsets) + more


def linear(weights: np.ndarray, bias: np.ndarray, *, batch: int | str = 1) -> bytes:
    """y = softmax(x W + b) over the last axis."""
    n_in, n_out = weights.shape
    return model(
        graph(
            nodes=[
                node("MatMul", ["x", "w"], ["xw"], name="times"),
                node("Add", ["xw", "b"], ["z"], name="plus"),
                node("Softmax", ["z"], ["y"], attribute("axis", 2, number(3, -1)), name="share"),
            ],
            tensors=[floats("w", weights), floats("b", bias)],
            inputs=[port("x", FLOAT, [batch, n_in])],
            outputs=[port("y", FLOAT, [batch, n_out])],
        )
    )
