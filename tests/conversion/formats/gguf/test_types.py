"""The table of ggml types agrees with the llama.cpp we run and with the gguf package."""

import ctypes
from pathlib import Path

import gguf as reference
import pytest
import xllamacpp

from conversion.formats.gguf import GGML_TYPES, TYPE_BY_ID, ValueType


@pytest.fixture(scope="module")
def llama() -> ctypes.CDLL:
    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    return library


def test_ids_names_and_sizes_are_those_of_llama_cpp(llama: ctypes.CDLL) -> None:
    for kind in GGML_TYPES:
        name = llama.ggml_type_name(kind.id).decode()
        if kind.removed:
            assert name.startswith(f"TYPE_{kind.name} REMOVED")
        else:
            sizes = llama.ggml_blck_size(kind.id), llama.ggml_type_size(kind.id)
            assert (name.upper(), *sizes) == (kind.name.upper(), kind.block_size, kind.type_size)


def test_no_type_of_llama_cpp_is_missing(llama: ctypes.CDLL) -> None:
    highest = max(TYPE_BY_ID)
    living = {number for number in range(highest + 1) if llama.ggml_type_size(number)}
    assert living == {kind.id for kind in GGML_TYPES if not kind.removed}


def test_the_gguf_package_says_the_same() -> None:
    for kind, sizes in reference.GGML_QUANT_SIZES.items():
        if kind.name == "Q8_1":
            continue  # gguf 0.19 still has the 40 bytes of 2023; ggml's block_q8_1 takes 36
        ours = TYPE_BY_ID[int(kind)]
        assert (ours.name, ours.block_size, ours.type_size) == (kind.name, *sizes)
    assert {kind.name: int(kind) for kind in reference.GGUFValueType} == {k.name: int(k) for k in ValueType}
