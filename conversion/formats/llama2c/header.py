"""Headers of llama2.c checkpoints, and where each tensor lies: everything follows from a few numbers.

| version | header | then |
|---|---|---|
| 0 | the seven numbers; a negative vocab_size: the output matrix is not the embedding | float32 |
| 1 | uint32 `0x616b3432`, int32 1, the seven numbers, uint8: the output is the embedding; zeros up to 256 | float32 |
| 2 | as 1, but int32 2, and int32 group_size at the end | norms float32, matrices int8 with scales |

The seven numbers are int32 dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len. Tensors follow in the
order of `_parts_of_version_0` or `_parts`; an int8 matrix is followed by float32 scales, one a group.
Everything is little-endian. Version 0 has no magic: a file is one only if its size is exactly what its header says.
(llama2.c: export.py, legacy_export, version1_export and version2_export; run.c: memory_map_weights.)
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from conversion.formats.errors import HeaderError
from conversion.formats.source import ByteSource, read_exactly

MAGIC = struct.pack("<I", 0x616B3432)
HEADER_BYTES = 256
LEGACY_HEADER_BYTES = 28
MAX_LAYERS = 4096
MAX_NUMBER = 2**31 - 1

_NUMBERS = struct.Struct("<7i")
_Part = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Header:
    """The numbers of a model. `group_size` is 0 where matrices are float32; `data_start` is the first byte after."""

    version: int
    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    is_tied: bool
    group_size: int
    data_start: int

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def kv_dim(self) -> int:
        return self.head_dim * self.n_kv_heads


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor lies. `group_size` is 0 for float32, else its int8 elements are followed by their scales."""

    name: str
    shape: tuple[int, ...]
    start: int
    group_size: int

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def stored_bytes(self) -> int:
        if self.group_size:
            return self.n_elements + 4 * (self.n_elements // self.group_size)
        return 4 * self.n_elements


def read_header(source: ByteSource) -> Header:
    """The header, its numbers plausible; HeaderError `l2c-…` otherwise. Whether they fit the file is `places`' task."""
    head = read_exactly(source, 0, LEGACY_HEADER_BYTES, code="l2c-truncated", what="the header")
    if not head.startswith(MAGIC):
        numbers = _NUMBERS.unpack(head)
        is_tied = numbers[5] > 0
        return _checked(0, (*numbers[:5], abs(numbers[5]), numbers[6]), is_tied, 0, LEGACY_HEADER_BYTES)
    data = read_exactly(source, 0, HEADER_BYTES, code="l2c-truncated", what="the header")
    version, *numbers_after, shared, group_size = struct.unpack_from("<i7iBi", data, 4)
    if version not in (1, 2):
        raise HeaderError("l2c-version", f"version {version}; 0, 1 and 2 are read")
    if shared > 1 or (version == 2 and group_size < 1) or any(data[45 if version == 2 else 41 :]):
        raise HeaderError(
            "l2c-header", "the header has a flag that is neither 0 nor 1, no group size, or more than that"
        )
    return _checked(
        version, tuple(numbers_after), shared == 1, group_size if version == 2 else 0, HEADER_BYTES
    )


def places(header: Header, size_bytes: int) -> list[Place]:
    """Every tensor under its Hugging Face name, in the file's order; HeaderError `l2c-size` unless all fit exactly."""
    found: list[Place] = []
    position = header.data_start
    for name, shape in _parts_of_version_0(header) if header.version == 0 else _parts(header):
        group_size = header.group_size if len(shape) > 1 else 0
        if group_size and math.prod(shape) % group_size:
            raise HeaderError("l2c-group", f"groups of {group_size} do not divide {name} of shape {shape}")
        place = Place(name, shape, position, group_size)
        position += place.stored_bytes
        if name:
            found.append(place)
    if position != size_bytes:
        raise HeaderError(
            "l2c-size", f"the header describes a file of {position} bytes, and this one has {size_bytes}"
        )
    return found


def is_llama2c(source: ByteSource, head: bytes) -> bool:
    """Whether a file that begins so is a llama2.c checkpoint: by its magic, or by numbers that give its very size."""
    if head.startswith(MAGIC):
        return True
    if len(head) < LEGACY_HEADER_BYTES:
        return False
    try:
        places(read_header(source), source.size_bytes)
    except HeaderError:
        return False
    return True


def _checked(
    version: int, numbers: tuple[int, ...], is_tied: bool, group_size: int, data_start: int
) -> Header:
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = numbers
    if min(numbers) < 1 or max(numbers) > MAX_NUMBER or n_layers > MAX_LAYERS:
        raise HeaderError("l2c-header", f"numbers below 1, or more than {MAX_LAYERS} layers: {numbers}")
    if dim % n_heads or n_heads % n_kv_heads or dim // n_heads % 2:
        raise HeaderError(
            "l2c-header", f"{n_heads} heads, {n_kv_heads} of keys, do not divide {dim} into even parts"
        )
    return Header(
        version, dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len,
        is_tied, group_size, data_start,
    )  # fmt: skip


def _parts_of_version_0(header: Header) -> Iterator[_Part]:
    """Names and shapes; a nameless part is passed over: it is what run.c computes itself (cosines and sines)."""
    yield "model.embed_tokens.weight", (header.vocab_size, header.dim)
    yield from _of_layers(header, "input_layernorm", (header.dim,))
    yield from _attention(header)
    yield from _of_layers(header, "post_attention_layernorm", (header.dim,))
    yield from _feed_forward(header)
    yield "model.norm.weight", (header.dim,)
    yield "", (2 * header.seq_len * (header.head_dim // 2),)
    if not header.is_tied:
        yield "lm_head.weight", (header.vocab_size, header.dim)


def _parts(header: Header) -> Iterator[_Part]:
    yield from _of_layers(header, "input_layernorm", (header.dim,))
    yield from _of_layers(header, "post_attention_layernorm", (header.dim,))
    yield "model.norm.weight", (header.dim,)
    yield "model.embed_tokens.weight", (header.vocab_size, header.dim)
    yield from _attention(header)
    yield from _feed_forward(header)
    if not header.is_tied:
        yield "lm_head.weight", (header.vocab_size, header.dim)


def _attention(header: Header) -> Iterator[_Part]:
    yield from _of_layers(header, "self_attn.q_proj", (header.dim, header.dim))
    yield from _of_layers(header, "self_attn.k_proj", (header.kv_dim, header.dim))
    yield from _of_layers(header, "self_attn.v_proj", (header.kv_dim, header.dim))
    yield from _of_layers(header, "self_attn.o_proj", (header.dim, header.dim))


def _feed_forward(header: Header) -> Iterator[_Part]:
    yield from _of_layers(header, "mlp.gate_proj", (header.hidden_dim, header.dim))
    yield from _of_layers(header, "mlp.down_proj", (header.dim, header.hidden_dim))
    yield from _of_layers(header, "mlp.up_proj", (header.hidden_dim, header.dim))


def _of_layers(header: Header, name: str, shape: tuple[int, ...]) -> Iterator[_Part]:
    for layer in range(header.n_layers):
        yield f"model.layers.{layer}.{name}.weight", shape
