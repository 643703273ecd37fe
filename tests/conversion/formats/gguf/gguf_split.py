"""llama-gguf-split's own calls, made on the gguf functions of the llama.cpp that we are pinned to: the reference."""

import ctypes
from ctypes import POINTER, byref, c_bool, c_char_p, c_int32, c_int64, c_size_t, c_uint16, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ALIGNMENT = 32


class InitParams(ctypes.Structure):
    _fields_ = [("no_alloc", c_bool), ("ctx", POINTER(c_void_p))]


def _library() -> Any:
    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    (path,) = [
        file
        for file in Path(spec.origin).parent.glob("*.so")
        if "abi3" in file.name or "cpython" in file.name
    ]
    library = ctypes.CDLL(str(path))
    for name, result, arguments in [
        ("gguf_init_from_file", c_void_p, [c_char_p, InitParams]),
        ("gguf_init_empty", c_void_p, []),
        ("gguf_set_kv", None, [c_void_p, c_void_p]),
        ("gguf_set_val_u16", None, [c_void_p, c_char_p, c_uint16]),
        ("gguf_set_val_i32", None, [c_void_p, c_char_p, c_int32]),
        ("gguf_get_n_tensors", c_int64, [c_void_p]),
        ("gguf_get_tensor_name", c_char_p, [c_void_p, c_int64]),
        ("gguf_get_tensor_offset", c_size_t, [c_void_p, c_int64]),
        ("gguf_get_data_offset", c_size_t, [c_void_p]),
        ("gguf_add_tensor", None, [c_void_p, c_void_p]),
        ("gguf_get_meta_size", c_size_t, [c_void_p]),
        ("gguf_get_meta_data", None, [c_void_p, c_void_p]),
        ("ggml_get_tensor", c_void_p, [c_void_p, c_char_p]),
        ("ggml_nbytes", c_size_t, [c_void_p]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def split(path: Path, *, max_bytes: int = 0, max_tensors: int = 0) -> list[bytes]:
    """The parts llama-gguf-split would write for `--split-max-size` (in bytes) or `--split-max-tensors`."""
    lib, data = _library(), path.read_bytes()
    tensors = c_void_p()
    source = lib.gguf_init_from_file(str(path).encode(), InitParams(True, ctypes.pointer(tensors)))
    n_tensors = lib.gguf_get_n_tensors(source)
    outs: list[tuple[Any, bytearray]] = []

    def begin() -> None:
        out = lib.gguf_init_empty()
        if not outs:
            lib.gguf_set_kv(out, source)
        lib.gguf_set_val_u16(out, b"split.no", len(outs))
        lib.gguf_set_val_u16(out, b"split.count", 0)
        lib.gguf_set_val_i32(out, b"split.tensors.count", n_tensors)
        outs.append((out, bytearray()))

    begin()
    size = 0
    for index in range(n_tensors):
        tensor = lib.ggml_get_tensor(tensors, lib.gguf_get_tensor_name(source, index))
        n_bytes = lib.ggml_nbytes(tensor)
        padded = -(-n_bytes // ALIGNMENT) * ALIGNMENT
        if (size + padded > max_bytes) if max_bytes else (index > 0 and index % max_tensors == 0):
            begin()
            size = 0
        size += padded
        out, body = outs[-1]
        lib.gguf_add_tensor(out, tensor)
        start = lib.gguf_get_data_offset(source) + lib.gguf_get_tensor_offset(source, index)
        body += data[start : start + n_bytes].ljust(padded, b"\0")
    return [_written(lib, out, body, len(outs)) for out, body in outs]


def _written(lib: Any, out: Any, body: bytearray, count: int) -> bytes:
    lib.gguf_set_val_u16(out, b"split.count", count)
    head = ctypes.create_string_buffer(lib.gguf_get_meta_size(out))
    lib.gguf_get_meta_data(out, byref(head))
    return head.raw + bytes(body)
