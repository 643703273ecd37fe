"""GGUF, the format of llama.cpp: a strict reader and a planner whose every byte is known before the data.

`shape` is row-major everywhere outside this folder; GGUF stores it innermost first, and only here it is turned round.
"""

from conversion.formats.gguf.metadata import MetadataValue, read_value
from conversion.formats.gguf.reader import GgufHeader, read_header
from conversion.formats.gguf.types import GGML_TYPES, IK_TYPES, TYPE_BY_ID, TYPE_BY_NAME, GgmlType, ValueType
from conversion.formats.gguf.writer import (
    DEFAULT_ALIGNMENT,
    GgufLayout,
    Stored,
    Value,
    array,
    boolean,
    float32,
    int32,
    plan_file,
    string,
    tensor_bytes,
    uint32,
)

__all__ = [
    "DEFAULT_ALIGNMENT",
    "GGML_TYPES",
    "IK_TYPES",
    "TYPE_BY_ID",
    "TYPE_BY_NAME",
    "GgmlType",
    "GgufHeader",
    "GgufLayout",
    "MetadataValue",
    "Stored",
    "Value",
    "ValueType",
    "array",
    "boolean",
    "float32",
    "int32",
    "plan_file",
    "read_header",
    "read_value",
    "string",
    "tensor_bytes",
    "uint32",
]
