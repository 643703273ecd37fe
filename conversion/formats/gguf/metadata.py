"""Metadata of a GGUF file: read in bounded memory, and in full when somebody needs all of it.

Reading a header keeps scalars, the first elements of each array and the first bytes of a long string; where the
rest lies is kept too, so `read_value` can fetch it. A tokenizer of 150,000 tokens costs a few hundred bytes.

Text is decoded as UTF-8 with surrogateescape: vocabularies in the wild hold bytes that are not UTF-8, and this way
they survive reading and writing unchanged. Whoever shows or stores such text replaces the surrogates first.
"""

import struct
from dataclasses import dataclass
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.gguf.cursor import Cursor
from conversion.formats.gguf.types import SCALAR_FORMATS, ValueType
from conversion.formats.gguf.writer import Value
from conversion.formats.source import ByteSource, read_exactly

MAX_KEYS = 65_536
MAX_KEY_BYTES = 65_535
MIN_PAIR_BYTES = 8 + 1 + 4 + 1
"""The shortest pair: length and one byte of key, value type, one byte of value."""

MAX_PREVIEW_BYTES = 64 * 1024
"""A longer string is previewed to this length; chat templates fit, embedded tokenizer files do not."""

N_PREVIEW_ELEMENTS = 8
MAX_STRINGS = 8_388_608
"""Strings in all arrays of one header together. Walking them is the only work that grows with the file."""

MAX_FULL_VALUE_BYTES = 256 * 1024 * 1024
"""The largest value `read_value` loads."""


@dataclass(frozen=True, slots=True)
class MetadataValue:
    """One value as a header holds it: type, what was previewed, and where its bytes lie in the file.

    `preview` is the value itself for a scalar or a string that fits, else its beginning; `length` counts the elements
    of an array, the bytes of a string, and is 1 otherwise. `start` and `size_bytes` cover the value after its type tag.
    """

    type: ValueType
    preview: Any
    length: int
    start: int
    size_bytes: int
    element_type: ValueType | None = None

    @property
    def is_complete(self) -> bool:
        """Whether `preview` is the whole value."""
        if self.type is ValueType.ARRAY:
            return len(self.preview) == self.length
        return self.type is not ValueType.STRING or self.length <= MAX_PREVIEW_BYTES


def read_metadata(cursor: Cursor, n_pairs: int) -> dict[str, MetadataValue]:
    """The `n_pairs` pairs that follow, in file order; raises HeaderError at the first that is not as it should be."""
    if n_pairs > MAX_KEYS or n_pairs * MIN_PAIR_BYTES > cursor.remaining:
        allowed = min(MAX_KEYS, cursor.remaining // MIN_PAIR_BYTES)
        raise HeaderError(
            "gguf-key-count", f"the header announces {n_pairs} metadata keys; at most {allowed} can follow"
        )
    metadata: dict[str, MetadataValue] = {}
    strings_left = MAX_STRINGS
    for index in range(n_pairs):
        key = _read_key(cursor, index)
        if key in metadata:
            raise HeaderError("gguf-duplicate-key", "the key appears twice", f"metadata {quoted(key)}")
        value = _read_value(cursor, key, strings_left)
        if value.element_type is ValueType.STRING:
            strings_left -= value.length
        metadata[key] = value
    return metadata


def read_value(source: ByteSource, value: MetadataValue) -> Value:
    """The whole value, ready to be written again; arrays as lists, strings decoded with surrogateescape.

    Reads only the value's own bytes. Raises HeaderError `gguf-value-large` above `MAX_FULL_VALUE_BYTES`.
    """
    if value.is_complete and value.type is not ValueType.ARRAY:
        return Value(value.type, value.preview)
    if value.size_bytes > MAX_FULL_VALUE_BYTES:
        raise HeaderError(
            "gguf-value-large",
            f"a value of {value.size_bytes} bytes; at most {MAX_FULL_VALUE_BYTES} are loaded",
        )
    data = read_exactly(source, value.start, value.size_bytes, code="gguf-truncated", what="a metadata value")
    if value.type is ValueType.STRING:
        return Value(ValueType.STRING, _text(data[8:]))
    if value.element_type is None:
        raise HeaderError("gguf-value-type", f"a value of type {value.type.name} has no elements")
    return Value(ValueType.ARRAY, _elements(data, value.element_type, value.length), value.element_type)


def _read_key(cursor: Cursor, index: int) -> str:
    length = cursor.take_uint64(f"the length of metadata key {index}")
    if not 1 <= length <= MAX_KEY_BYTES:
        raise HeaderError(
            "gguf-key-length", f"metadata key {index} has {length} bytes; 1 to {MAX_KEY_BYTES} are allowed"
        )
    data = cursor.take(length, f"metadata key {index}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError("gguf-key-text", f"metadata key {index} is not UTF-8: {quoted(data)}") from error


def _read_value(cursor: Cursor, key: str, strings_left: int) -> MetadataValue:
    what = f"metadata {quoted(key)}"
    kind = _value_type(cursor.take_uint32(f"the type of {what}"), what)
    start = cursor.position
    if kind is ValueType.ARRAY:
        return _read_array(cursor, what, strings_left)
    if kind is ValueType.STRING:
        preview, length = _read_string(cursor, what)
        return MetadataValue(kind, preview, length, start, cursor.position - start)
    form = SCALAR_FORMATS[kind]
    (scalar,) = struct.unpack(form, cursor.take(struct.calcsize(form), what))
    if kind is ValueType.BOOL:
        scalar = _boolean(scalar, what)
    return MetadataValue(kind, scalar, 1, start, cursor.position - start)


def _read_string(cursor: Cursor, what: str) -> tuple[str, int]:
    length = cursor.take_uint64(f"the length of {what}")
    if length > cursor.remaining:
        raise HeaderError(
            "gguf-string-long",
            f"a string of {length} bytes, but only {cursor.remaining} follow in the file",
            what,
        )
    preview = cursor.take(min(length, MAX_PREVIEW_BYTES), what)
    cursor.skip(length - len(preview), what)
    return _text(preview), length


def _read_array(cursor: Cursor, what: str, strings_left: int) -> MetadataValue:
    start = cursor.position
    element_type = _value_type(cursor.take_uint32(f"the element type of {what}"), what)
    if element_type is ValueType.ARRAY:
        raise HeaderError("gguf-array-nested", "an array of arrays; only one level is allowed", what)
    count = cursor.take_uint64(f"the length of {what}")
    is_strings = element_type is ValueType.STRING
    element_bytes = 8 if is_strings else struct.calcsize(SCALAR_FORMATS[element_type])
    if count * element_bytes > cursor.remaining:
        raise HeaderError(
            "gguf-array-long",
            f"{count} elements of at least {element_bytes} bytes, but only {cursor.remaining} bytes follow",
            what,
        )
    if is_strings and count > strings_left:
        raise HeaderError("gguf-array-long", f"{count} strings; a header may hold {MAX_STRINGS} in all", what)
    preview = _preview_elements(cursor, element_type, min(count, N_PREVIEW_ELEMENTS), what)
    if is_strings:
        cursor.skip_strings(count - len(preview), what)
    else:
        cursor.skip((count - len(preview)) * element_bytes, what)
    return MetadataValue(ValueType.ARRAY, preview, count, start, cursor.position - start, element_type)


def _preview_elements(cursor: Cursor, element_type: ValueType, count: int, what: str) -> tuple[Any, ...]:
    if element_type is ValueType.STRING:
        return tuple(_read_string(cursor, what)[0] for _ in range(count))
    form = SCALAR_FORMATS[element_type]
    scalars = struct.unpack(f"<{count}{form[-1]}", cursor.take(count * struct.calcsize(form), what))
    if element_type is ValueType.BOOL:
        return tuple(_boolean(scalar, what) for scalar in scalars)
    return scalars


def _elements(data: bytes, element_type: ValueType, count: int) -> list[Any]:
    position = 12  # after the element type and the count
    if element_type is not ValueType.STRING:
        scalars = list(struct.unpack_from(f"<{count}{SCALAR_FORMATS[element_type][-1]}", data, position))
        return (
            [_boolean(scalar, "an array") for scalar in scalars]
            if element_type is ValueType.BOOL
            else scalars
        )
    texts: list[str] = []
    for _ in range(count):
        end = position + 8 + int.from_bytes(data[position : position + 8], "little")
        texts.append(_text(data[position + 8 : end]))
        position = end
    return texts


def _value_type(number: int, what: str) -> ValueType:
    try:
        return ValueType(number)
    except ValueError as error:
        highest = max(ValueType)
        raise HeaderError(
            "gguf-value-type", f"value type {number}; 0 to {highest} are known", what
        ) from error


def _boolean(number: int, what: str) -> bool:
    if number > 1:
        raise HeaderError("gguf-bool", f"a boolean of {number}; only 0 and 1 are allowed", what)
    return number == 1


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
