"""A llama2.c checkpoint as Weights, with the names, order of rows and config that Hugging Face's Llama has.

llama2.c keeps q and k as Meta does, neighbours rotated together; Hugging Face rotates halves of a head. So row
(half, i) of a head is row (i, half) in the file.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry, row_range
from conversion.formats.llama2c.header import Header, Place, is_llama2c, places, read_header
from conversion.formats.llama2c.tokenizer import read_pieces
from conversion.formats.sentencepiece import sentencepiece_model
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.weights import Rows, decode_rows, n_columns

TOKENIZER_NAME = re.compile(r"tok[A-Za-z0-9_-]*\.bin")
RMS_NORM_EPSILON = 1e-5
ROPE_THETA = 10000.0
"""Both are written into run.c, not into the file."""


@dataclass(frozen=True)
class Llama2cWeights:
    """Tensors of a llama2.c checkpoint; every entry is F32, for int8 groups are dequantised when they are read.

    `side_files` are those a Hugging Face folder would have beside the weights: config.json, and tokenizer.model where
    there was a tokenizer.bin.
    """

    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, Any]
    side_files: Mapping[str, bytes]
    header: Header
    source: ByteSource = field(repr=False)
    places: Mapping[str, Place] = field(repr=False)

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        """Rows `[first, first + count)` as float32, little-endian."""
        return self.rows(name, first, count).astype("<f4", copy=False).tobytes()

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        """The same rows as float32 (count, n_cols); `out`, where given, is filled and returned."""
        row_range(self.entries[name], first, count)  # there are such rows
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            found = self._rotated(self.places[name], first, count)
        else:
            found = self._stored(self.places[name], first, count)
        if out is None:
            return found
        np.copyto(out, found)
        return out

    def _rotated(self, place: Place, first: int, count: int) -> Rows:
        head_dim = self.header.head_dim
        low, high = first // head_dim, -(-(first + count) // head_dim)
        stored = self._stored(place, low * head_dim, (high - low) * head_dim)
        heads = stored.reshape(high - low, head_dim // 2, 2, -1).swapaxes(1, 2).reshape(stored.shape)
        return np.ascontiguousarray(heads[first - low * head_dim :][:count])

    def _stored(self, place: Place, first: int, count: int) -> Rows:
        entry = self.entries[place.name]
        n_cols = n_columns(entry)
        if place.group_size:
            return self._dequantised(place, first * n_cols, count * n_cols).reshape(count, n_cols)
        return decode_rows(self._read(place, 4 * first * n_cols, 4 * count * n_cols), entry)

    def _dequantised(self, place: Place, first: int, count: int) -> npt.NDArray[np.float32]:
        """Elements `[first, first + count)`: each int8 times the scale of its group."""
        low, high = first // place.group_size, -(-(first + count) // place.group_size)
        values = np.frombuffer(self._read(place, first, count), np.int8).astype(np.float32)
        scales = np.frombuffer(self._read(place, place.n_elements + 4 * low, 4 * (high - low)), "<f4")
        with np.errstate(
            all="ignore"
        ):  # a scale may be anything; whoever writes the values refuses infinities
            values *= np.repeat(scales, place.group_size)[first - low * place.group_size :][:count]
        return values

    def _read(self, place: Place, start: int, length: int) -> bytes:
        what = f"tensor {quoted(place.name)}"
        return read_exactly(self.source, place.start + start, length, code="l2c-truncated", what=what)


def open_llama2c(sources: Mapping[str, ByteSource]) -> Llama2cWeights:
    """The llama2.c checkpoint among these files, with the tokenizer (`tok*.bin`) where there is one."""
    tokenizers = sorted(path for path in sources if TOKENIZER_NAME.fullmatch(path))
    models = sorted(path for path in sources if path.endswith(".bin") and path not in tokenizers)
    models = [path for path in models if len(models) == 1 or is_llama2c(sources[path], _head(sources[path]))]
    if len(models) != 1 or len(tokenizers) > 1:
        raise HeaderError(
            "ck-ambiguous" if models else "ck-empty",
            f"{len(models)} llama2.c checkpoints and {len(tokenizers)} tokenizers; one of each is needed",
        )
    source, path = sources[models[0]], models[0]
    try:
        header = read_header(source)
        placed = places(header, source.size_bytes)
    except HeaderError as error:
        raise HeaderError(error.code, error.message, path) from error
    side_files = {"config.json": json.dumps(hugging_face_config(header), indent=2).encode() + b"\n"}
    for tokenizer in tokenizers:
        side_files["tokenizer.model"] = _tokenizer(sources[tokenizer], tokenizer, header.vocab_size)
    entries = {
        place.name: TensorEntry(place.name, "F32", place.shape, place.start, 4 * place.n_elements)
        for place in placed
    }
    metadata = {"llama2c.version": header.version, "llama2c.group_size": header.group_size}
    return Llama2cWeights(entries, metadata, side_files, header, source, {p.name: p for p in placed})


def read_entries(source: ByteSource) -> tuple[TensorEntry, ...]:
    """The tensors of a checkpoint as they are stored: F32, or I8, whose bytes go on with the scales of its groups."""
    placed = places(read_header(source), source.size_bytes)
    return tuple(
        TensorEntry(p.name, "I8" if p.group_size else "F32", p.shape, p.start, p.stored_bytes) for p in placed
    )


def hugging_face_config(header: Header) -> dict[str, Any]:
    """What config.json of the same model would say."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": header.dim,
        "intermediate_size": header.hidden_dim,
        "num_hidden_layers": header.n_layers,
        "num_attention_heads": header.n_heads,
        "num_key_value_heads": header.n_kv_heads,
        "head_dim": header.head_dim,
        "vocab_size": header.vocab_size,
        "max_position_embeddings": header.seq_len,
        "hidden_act": "silu",
        "rms_norm_eps": RMS_NORM_EPSILON,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": header.is_tied,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _tokenizer(source: ByteSource, path: str, vocab_size: int) -> bytes:
    try:
        return sentencepiece_model(read_pieces(source, vocab_size))
    except HeaderError as error:
        raise HeaderError(error.code, error.message, path) from error


def _head(source: ByteSource) -> bytes:
    return source.read(0, min(64, source.size_bytes))
