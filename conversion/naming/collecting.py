"""Metadata gathered by the gguf package's own setters, which know every key and its type, without writing a file."""

import gguf

from conversion.formats.gguf import Value, ValueType
from conversion.naming.base import NamingError


def new_collector(architecture: str) -> gguf.GGUFWriter:
    """A writer that only ever collects; `general.architecture` is its first key."""
    return gguf.GGUFWriter(path=None, arch=architecture)


def collected(writer: gguf.GGUFWriter) -> dict[str, Value]:
    """Every pair that was set, in the order of its first setting."""
    return {key: _value(entry) for key, entry in writer.kv_data[0].items() if not _is_empty(entry)}


def _is_empty(entry: gguf.GGUFValue) -> bool:
    return entry.type is gguf.GGUFValueType.ARRAY and len(entry.value) == 0


def _value(entry: gguf.GGUFValue) -> Value:
    kind = ValueType(entry.type.value)
    if kind is not ValueType.ARRAY:
        return Value(kind, entry.value)
    try:
        element = entry.sub_type or gguf.GGUFValueType.get_type(entry.value[0])
    except ValueError as error:
        raise NamingError("cannot-be-gguf", f"a list in the metadata cannot be written: {error}") from error
    return Value(kind, entry.value, ValueType(element.value))
