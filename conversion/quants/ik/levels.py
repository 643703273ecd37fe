"""The levels of ik_llama.cpp's non-linear types: a number of few bits stands for one of these.

Each table has two rows: the levels as they are, and all of them shifted a little, which a block may choose for each of
its runs. (ggml-common.h of ik_llama.cpp 8337e4cd3: iq2nl_values, iq3nl_values, iq4k_values, iq5nl_values,
iq2kl_values.)
"""

import numpy as np

from conversion.quants.base import Floats


def _table(*rows: str) -> Floats:
    return np.array([[float(number) for number in row.split()] for row in rows], dtype=np.float32)


TWO_BITS = _table("-31 -13 1 17", "-26 -8 6 22")
THREE_BITS = _table("-63 -40 -23 -10 1 13 28 47", "-59 -36 -19 -6 5 17 32 51")
FOUR_BITS = _table(
    "-127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113",
    "-123 -100 -79 -61 -45 -31 -18 -6 5 17 29 42 57 73 93 117",
)
FIVE_BITS = _table(
    "-126 -114 -103 -92 -83 -74 -65 -57 -50 -43 -36 -30 -24 -18 -12 -6 "
    "-1 5 11 17 23 29 36 43 51 59 68 77 87 97 109 121",
    "-124 -112 -101 -90 -81 -72 -63 -55 -48 -41 -34 -28 -22 -16 -10 -4 "
    "1 7 13 19 25 31 38 45 53 61 70 79 89 99 111 123",
)
PAIRS = _table(
    "-63 -23  -63 13  -40 -63  -40 -10  -40 13  -40 47  -23 -40  -23 -23  -23 1  -23 13  -23 28  -10 -63  -10 1  "
    "-10 13  -10 47  1 -23  1 -10  1 1  1 13  1 28  13 -40  13 -23  13 -10  13 1  13 13  28 -63  28 -23  28 1  28 28  "
    "28 47  47 -23  47 13"
).reshape(32, 2)
"""IQ2_KL's: five bits stand for two values at once."""
