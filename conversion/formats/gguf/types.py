"""The numbers GGUF files use for types: ggml's tensor types and GGUF's metadata value types.

A ggml type stores elements in blocks: `block_size` consecutive elements of a row take `type_size` bytes. Ids and sizes
are those of ggml (`ggml.h: enum ggml_type`, `ggml.c: type_traits`); a test compares them with the llama.cpp build
we are pinned to. Types that ggml has withdrawn stay here, marked `removed`: such files exist and are worth keeping,
and with the right sizes their tensors can still be located and listed. Ids 4 and 5 (Q4_2, Q4_3) were withdrawn before
GGUF existed, so no GGUF file can rightly hold them.

ik_llama.cpp, a fork, has types of its own above 132. In some a row begins with a few bytes for all its
blocks, its scale.
"""

from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, slots=True)
class GgmlType:
    """One ggml type: its id in the file, its name as ggml spells it, and the size of its blocks.

    removed: ggml has withdrawn it. fork: the program that alone reads it, "" for ggml. row_header: bytes before the
    blocks of each row.
    """

    id: int
    name: str
    block_size: int
    type_size: int
    removed: bool = False
    fork: str = ""
    row_header: int = 0

    def row_bytes(self, n_columns: int) -> int:
        """Bytes of one row of `n_columns` elements; the caller has checked that blocks divide it."""
        return self.row_header + n_columns // self.block_size * self.type_size


IK = "ik_llama.cpp"

GGML_TYPES: tuple[GgmlType, ...] = (
    GgmlType(0, "F32", 1, 4),
    GgmlType(1, "F16", 1, 2),
    GgmlType(2, "Q4_0", 32, 18),
    GgmlType(3, "Q4_1", 32, 20),
    GgmlType(6, "Q5_0", 32, 22),
    GgmlType(7, "Q5_1", 32, 24),
    GgmlType(8, "Q8_0", 32, 34),
    GgmlType(9, "Q8_1", 32, 36),
    GgmlType(10, "Q2_K", 256, 84),
    GgmlType(11, "Q3_K", 256, 110),
    GgmlType(12, "Q4_K", 256, 144),
    GgmlType(13, "Q5_K", 256, 176),
    GgmlType(14, "Q6_K", 256, 210),
    GgmlType(15, "Q8_K", 256, 292),
    GgmlType(16, "IQ2_XXS", 256, 66),
    GgmlType(17, "IQ2_XS", 256, 74),
    GgmlType(18, "IQ3_XXS", 256, 98),
    GgmlType(19, "IQ1_S", 256, 50),
    GgmlType(20, "IQ4_NL", 32, 18),
    GgmlType(21, "IQ3_S", 256, 110),
    GgmlType(22, "IQ2_S", 256, 82),
    GgmlType(23, "IQ4_XS", 256, 136),
    GgmlType(24, "I8", 1, 1),
    GgmlType(25, "I16", 1, 2),
    GgmlType(26, "I32", 1, 4),
    GgmlType(27, "I64", 1, 8),
    GgmlType(28, "F64", 1, 8),
    GgmlType(29, "IQ1_M", 256, 56),
    GgmlType(30, "BF16", 1, 2),
    # Q4_0 and IQ4_NL with rows interleaved for one kind of CPU: the same number of bytes, in another order.
    GgmlType(31, "Q4_0_4_4", 32, 18, removed=True),
    GgmlType(32, "Q4_0_4_8", 32, 18, removed=True),
    GgmlType(33, "Q4_0_8_8", 32, 18, removed=True),
    GgmlType(34, "TQ1_0", 256, 54),
    GgmlType(35, "TQ2_0", 256, 66),
    GgmlType(36, "IQ4_NL_4_4", 32, 18, removed=True),
    GgmlType(37, "IQ4_NL_4_8", 32, 18, removed=True),
    GgmlType(38, "IQ4_NL_8_8", 32, 18, removed=True),
    GgmlType(39, "MXFP4", 32, 17),
    GgmlType(40, "NVFP4", 64, 36),
    GgmlType(41, "Q1_0", 128, 18),
    GgmlType(42, "Q2_0", 64, 18),
)

IK_TYPES: tuple[GgmlType, ...] = (
    GgmlType(133, "Q6_0", 32, 26, fork=IK),
    GgmlType(134, "IQ1_BN", 64, 13, fork=IK, row_header=2),
    GgmlType(135, "IQ2_BN", 64, 16, fork=IK, row_header=4),
    GgmlType(137, "IQ2_K", 256, 76, fork=IK),
    GgmlType(138, "IQ3_K", 256, 110, fork=IK),
    GgmlType(139, "IQ4_K", 256, 144, fork=IK),
    GgmlType(140, "IQ5_K", 256, 176, fork=IK),
    GgmlType(141, "IQ6_K", 256, 212, fork=IK),
    GgmlType(144, "IQ4_KS", 256, 136, fork=IK, row_header=4),
    GgmlType(145, "IQ2_KS", 256, 70, fork=IK, row_header=2),
    GgmlType(146, "IQ4_KSS", 256, 128, fork=IK, row_header=4),
    GgmlType(151, "Q8_KV", 32, 32, fork=IK, row_header=8),
    GgmlType(152, "IQ5_KS", 256, 168, fork=IK, row_header=4),
    GgmlType(153, "IQ2_KT", 256, 68, fork=IK, row_header=4),
    GgmlType(154, "IQ3_KT", 256, 100, fork=IK, row_header=4),
    GgmlType(155, "IQ4_KT", 256, 128, fork=IK, row_header=4),
    GgmlType(156, "IQ3_KS", 256, 102, fork=IK, row_header=2),
    GgmlType(157, "IQ2_KL", 256, 86, fork=IK, row_header=2),
    GgmlType(158, "IQ1_KT", 256, 56, fork=IK, row_header=4),
    # Rows interleaved by four, eight or sixteen for one kind of CPU: as many bytes as apart, in another order.
    GgmlType(202, "Q4_0_R8", 32, 18, fork=IK),
    GgmlType(206, "Q5_0_R4", 32, 22, fork=IK),
    GgmlType(208, "Q8_0_R8", 32, 34, fork=IK),
    GgmlType(210, "Q2_K_R4", 256, 84, fork=IK),
    GgmlType(211, "Q3_K_R4", 256, 110, fork=IK),
    GgmlType(212, "Q4_K_R4", 256, 144, fork=IK),
    GgmlType(213, "Q5_K_R4", 256, 176, fork=IK),
    GgmlType(214, "Q6_K_R4", 256, 210, fork=IK),
    GgmlType(216, "IQ2_XXS_R4", 256, 66, fork=IK),
    GgmlType(217, "IQ2_XS_R4", 256, 74, fork=IK),
    GgmlType(218, "IQ3_XXS_R4", 256, 98, fork=IK),
    GgmlType(219, "IQ1_S_R4", 32, 6, fork=IK, row_header=2),
    GgmlType(220, "IQ4_NL_R4", 32, 18, fork=IK),
    GgmlType(221, "IQ3_S_R4", 256, 110, fork=IK),
    GgmlType(222, "IQ2_S_R4", 256, 82, fork=IK),
    GgmlType(223, "IQ4_XS_R8", 256, 136, fork=IK),
    GgmlType(229, "IQ1_M_R4", 32, 7, fork=IK, row_header=2),
    GgmlType(230, "BF16_R16", 1, 2, fork=IK),
    GgmlType(233, "Q6_0_R4", 32, 26, fork=IK),
    GgmlType(335, "IQ2_BN_R4", 64, 16, fork=IK, row_header=4),
    GgmlType(337, "IQ2_K_R4", 256, 76, fork=IK),
    GgmlType(338, "IQ3_K_R4", 256, 110, fork=IK),
    GgmlType(339, "IQ4_K_R4", 256, 144, fork=IK),
    GgmlType(340, "IQ5_K_R4", 256, 176, fork=IK),
    GgmlType(344, "IQ4_KS_R4", 256, 136, fork=IK, row_header=4),
    GgmlType(352, "IQ5_KS_R4", 256, 168, fork=IK, row_header=4),
    GgmlType(353, "MXFP4_R8", 32, 17, fork=IK),
    GgmlType(397, "Q8_K_R16", 256, 258, fork=IK),
    GgmlType(398, "Q8_KV_R8", 32, 32, fork=IK, row_header=4),
    GgmlType(399, "Q8_K_R8", 256, 258, fork=IK),
)
"""What ik_llama.cpp writes and llama.cpp cannot read (ggml.h and ggml.c of ik_llama.cpp 8337e4cd3). Its I2_S shares the
id 36 with a type that ggml has withdrawn; such files are taken for that."""

TYPE_BY_ID: dict[int, GgmlType] = {kind.id: kind for kind in GGML_TYPES + IK_TYPES}
TYPE_BY_NAME: dict[str, GgmlType] = {kind.name: kind for kind in GGML_TYPES + IK_TYPES}


class ValueType(IntEnum):
    """The types of metadata values, as numbered in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


SCALAR_FORMATS: dict[ValueType, str] = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.FLOAT32: "<f",
    ValueType.BOOL: "<B",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT64: "<d",
}
"""struct formats of the fixed-size values; always little-endian here (big-endian files are refused by name)."""

NUMPY_DTYPES: dict[ValueType, str] = {
    ValueType.UINT8: "<u1",
    ValueType.INT8: "<i1",
    ValueType.UINT16: "<u2",
    ValueType.INT16: "<i2",
    ValueType.UINT32: "<u4",
    ValueType.INT32: "<i4",
    ValueType.FLOAT32: "<f4",
    ValueType.BOOL: "<u1",
    ValueType.UINT64: "<u8",
    ValueType.INT64: "<i8",
    ValueType.FLOAT64: "<f8",
}
