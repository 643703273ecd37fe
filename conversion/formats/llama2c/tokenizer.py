"""tokenizer.bin of llama2.c as the pieces of the SentencePiece model it was made from, as far as they can be known.

Layout, little-endian: int32 length of the longest token; then for each id float32 score, int32 length, bytes. llama2.c
writes spaces where SentencePiece has `▁`, and puts line breaks around `<s>` and `</s>`; both are undone here.
(llama2.c: tokenizer.py, Tokenizer.export.)
"""

import re
import struct

from conversion.formats.errors import HeaderError
from conversion.formats.sentencepiece import BYTE, CONTROL, NORMAL, SPACE_MARK, UNKNOWN, Piece
from conversion.formats.source import ByteSource, read_exactly

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
MAX_TOKEN_BYTES = 4096
UNKNOWN_ID, CONTROL_IDS = 0, (1, 2)

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


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
