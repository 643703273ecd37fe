"""The table of ggml types agrees with the llama.cpp we run and with the gguf package."""

import ctypes
from pathlib import Path

import gguf as reference
import pytest
import xllamacpp

from conversion.formats.gguf import GGML_TYPES, IK_TYPES, TYPE_BY_ID, TYPE_BY_NAME, ValueType
from conversion.quants.ik import TYPES as DECODED


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
    highest = max(kind.id for kind in GGML_TYPES)
    living = {number for number in range(highest + 1) if llama.ggml_type_size(number)}
    assert living == {kind.id for kind in GGML_TYPES if not kind.removed}


def test_the_gguf_package_says_the_same() -> None:
    for kind, sizes in reference.GGML_QUANT_SIZES.items():
        if kind.name == "Q8_1":
            continue  # gguf 0.19 still has the 40 bytes of 2023; ggml's block_q8_1 takes 36
        ours = TYPE_BY_ID[int(kind)]
        assert (ours.name, ours.block_size, ours.type_size) == (kind.name, *sizes)
    assert {kind.name: int(kind) for kind in reference.GGUFValueType} == {k.name: int(k) for k in ValueType}


def test_the_types_of_ik_llama_cpp_have_ids_and_names_of_their_own() -> None:
    assert len(TYPE_BY_ID) == len(TYPE_BY_NAME) == len(GGML_TYPES) + len(IK_TYPES)
    assert {kind.fork for kind in IK_TYPES} == {"ik_llama.cpp"}
    assert all(kind.id > 132 and not kind.removed for kind in IK_TYPES)


def test_rows_of_ik_llama_cpp_are_as_long_as_what_decodes_them_says() -> None:
    for name, kind in DECODED.items():
        assert TYPE_BY_NAME[name].row_bytes(1024) == kind.row_bytes(1024)
    assert TYPE_BY_NAME["IQ4_KS"].row_bytes(1024) == 4 + 4 * 136


def test_interleaved_rows_take_as_many_bytes_as_rows_apart() -> None:
    """But for the 1-bit types, which have blocks of 32 and a row scale then, and Q8_K, Q8_KV, which lose their sums."""
    for kind in IK_TYPES:
        apart, _, rows = kind.name.rpartition("_R")
        if rows.isdigit() and apart not in {"IQ1_S", "IQ1_M", "Q8_K", "Q8_KV"}:
            assert kind.row_bytes(1024) == TYPE_BY_NAME[apart].row_bytes(1024)
