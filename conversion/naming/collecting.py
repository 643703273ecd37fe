"""Metadata gathered by the gguf package's own setters, which know every key and its type, without writing a file."""

import logging

import gguf

from conversion.formats.gguf import Value, ValueType
from conversion.naming.base import NamingError

logging.getLogger("gguf.gguf_writer").setLevel(logging.CRITICAL)  # a family may say a key again, more exactly


class Collector(gguf.GGUFWriter):
    """A writer that only ever collects; `general.architecture` is its first key.

    `pre_tokenizer` is the name a person gave to a BPE tokenizer's pre-tokenizer, "" where it is to be found.
    """

    def __init__(self, architecture: str, pre_tokenizer: str = "") -> None:
        super().__init__(path=None, arch=architecture)
        self.pre_tokenizer = pre_tokenizer


def new_collector(architecture: str, pre_tokenizer: str = "") -> gguf.GGUFWriter:
    """A Collector; metadata is what the family and the tokenizer set on it."""
    return Collector(architecture, pre_tokenizer)


def collected(writer: gguf.GGUFWriter) -> dict[str, Value]:
    """Every pair that was set, in the order of its first setting."""
    return {key: _value(entry) for key, entry in writer.kv_data[0].items() if not _is_empty(entry)}


def _is_empty(entry: gguf.GGUFValue) -> bool:
    return entry.type is gguf.GGUFValueType.ARRAY and len(entry.value) == 0


def _value(entry: gguf.GGUFValue) -> Value:
    kind = ValueType(entry.type.value)
    if kind is not ValueType.ARRAY:
        return Value(kind, entry.value)
    if isinstance(
        entry.value, bytes
    ):  # the package writes these as bytes, not as the integers they iterate as
        return Value(kind, list(entry.value), ValueType.UINT8)
    try:
        element = entry.sub_type or gguf.GGUFValueType.get_type(entry.value[0])
    except ValueError as error:
        raise NamingError("cannot-be-gguf", f"a list in the metadata cannot be written: {error}") from error
    return Value(kind, entry.value, ValueType(element.value))
