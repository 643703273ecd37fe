"""Writing a SentencePiece model: `tokenizer.model`, a protocol buffer with the pieces and what loaders ask beside them.

| field of ModelProto | holds |
|---|---|
| 1, repeated | a piece: text (1), float score (2), type (3) |
| 2 | for training: model_type (3) BPE, byte_fallback (35), ids (40 to 43) and names (45 to 48) of special pieces |
| 3 | for normalizing: name (1) identity, add_dummy_prefix (3), remove_extra_whitespaces (4) false |

(sentencepiece_model.proto.) What is not given has the library's default and is not written.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of pieces, as sentencepiece_model.proto numbers them."""

SPACE_MARK = "\u2581"
FIELDS = {"unk_token": (40, 45), "bos_token": (41, 46), "eos_token": (42, 47), "pad_token": (43, 48)}
"""Special piece -> the fields of its id and its name."""

_BPE = b"\x18\x02"
_BYTE_FALLBACK = b"\x98\x02\x01"
_IDENTITY = b"\x0a\x08identity"
_KEEP_SPACES = b"\x20\x00"
_NO_SPACE_FIRST = b"\x18\x00"


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    score: float
    type: int


def sentencepiece_model(
    pieces: Sequence[Piece], *, puts_space_first: bool = True, special: Mapping[str, int] | None = None
) -> bytes:
    """The pieces, in the order of their ids, as a BPE model. `special` names ids by the keys of FIELDS."""
    model = bytearray()
    for piece in pieces:
        message = _bytes_field(1, _encoded(piece.text)) + b"\x15" + struct.pack("<f", piece.score)
        model += _bytes_field(1, message + b"\x18" + _varint(piece.type))
    training = _BPE + (_BYTE_FALLBACK if any(piece.type == BYTE for piece in pieces) else b"")
    for name, number in (special or {}).items():
        id_field, name_field = FIELDS[name]
        training += _varint(id_field << 3) + _varint(number)
        training += _bytes_field(name_field, _encoded(pieces[number].text))
    normalizing = _IDENTITY + (b"" if puts_space_first else _NO_SPACE_FIRST) + _KEEP_SPACES
    return bytes(model) + _bytes_field(2, training) + _bytes_field(3, normalizing)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
