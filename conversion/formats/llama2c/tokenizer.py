"""tokenizer.bin of llama2.c, and the SentencePiece model it was made from, as far as it can be known.

Layout, little-endian: int32 length of the longest token; then for each id float32 score, int32 length, bytes. llama2.c
writes spaces where SentencePiece has `▁`, and puts line breaks around `<s>` and `</s>`; both are undone here.
(llama2.c: tokenizer.py, Tokenizer.export.)
"""

import re
import struct
from dataclasses import dataclass

from conversion.formats.errors import HeaderError
from conversion.formats.source import ByteSource, read_exactly

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
MAX_TOKEN_BYTES = 4096
SPACE_MARK = "\u2581"
UNKNOWN_ID, CONTROL_IDS = 0, (1, 2)
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Types of pieces, as sentencepiece_model.proto numbers them."""

_TRAINER_SPEC = b"\x12\x05" + b"\x18\x02" + b"\x98\x02\x01"
"""Field 2: `model_type` (3) is BPE, `byte_fallback` (35) is true."""

_NORMALIZER_SPEC = b"\x1a\x0c" + b"\x0a\x08identity" + b"\x20\x00"
"""Field 3: `name` (1) is identity, `remove_extra_whitespaces` (4) is false."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    score: float
    type: int


def read_pieces(source: ByteSource, vocab_size: int) -> list[Piece]:
    """The `vocab_size` pieces of a tokenizer.bin; HeaderError `l2c-tokenizer` for anything else."""
    if source.size_bytes > MAX_TOKENIZER_BYTES or 4 + 8 * vocab_size > source.size_bytes:
        raise HeaderError(
            "l2c-tokenizer", f"{source.size_bytes} bytes cannot hold {vocab_size} tokens, or are too many"
        )
    data = read_exactly(source, 0, source.size_bytes, code="l2c-tokenizer", what="the tokenizer")
    pieces: list[Piece] = []
    position = 4
    for number in range(vocab_size):
        if position + 8 > len(data):
            raise HeaderError("l2c-tokenizer", f"the file ends before token {number} of {vocab_size}")
        score, length = struct.unpack_from("<fi", data, position)
        position += 8
        if not 0 <= length <= MAX_TOKEN_BYTES or position + length > len(data):
            raise HeaderError(
                "l2c-tokenizer", f"token {number} has {length} bytes; the file, or the limit, has fewer"
            )
        pieces.append(_piece(number, score, data[position : position + length]))
        position += length
    if position != len(data):
        raise HeaderError(
            "l2c-tokenizer", f"{len(data) - position} bytes follow the last of {vocab_size} tokens"
        )
    return pieces


def sentencepiece_model(pieces: list[Piece]) -> bytes:
    """The pieces as a `tokenizer.model`: a `ModelProto` with what Llama's own says of training and normalizing."""
    model = bytearray()
    for piece in pieces:
        text = piece.text.encode()
        message = b"\x0a" + _varint(len(text)) + text + b"\x15" + struct.pack("<f", piece.score)
        message += b"\x18" + _varint(piece.type)
        model += b"\x0a" + _varint(len(message)) + message
    return bytes(model) + _TRAINER_SPEC + _NORMALIZER_SPEC


def _piece(number: int, score: float, data: bytes) -> Piece:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError("l2c-tokenizer", f"token {number} is not UTF-8") from error
    if number == UNKNOWN_ID:
        return Piece(text, score, UNKNOWN)
    if number in CONTROL_IDS:
        return Piece(text.strip("\n"), score, CONTROL)
    if _BYTE.fullmatch(text):
        return Piece(text, score, BYTE)
    return Piece(text.replace(" ", SPACE_MARK), score, NORMAL)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
