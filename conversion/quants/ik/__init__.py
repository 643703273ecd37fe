"""The additional types of ik_llama.cpp, a fork of llama.cpp, which can be read but not made.

Some of their rows begin with a scale of their own, before the blocks (`QuantType.row_header`). Bit for bit means: as
ik_llama.cpp 8337e4cd3 computes it when compiled for baseline x86-64, as everywhere here.
"""

from conversion.quants.base import QuantType
from conversion.quants.ik.iq1_kt import IQ1_KT
from conversion.quants.ik.iq2_k import IQ2_K
from conversion.quants.ik.iq2_kl import IQ2_KL
from conversion.quants.ik.iq2_ks import IQ2_KS
from conversion.quants.ik.iq2_kt import IQ2_KT
from conversion.quants.ik.iq3_k import IQ3_K
from conversion.quants.ik.iq3_ks import IQ3_KS
from conversion.quants.ik.iq3_kt import IQ3_KT
from conversion.quants.ik.iq4_k import IQ4_K
from conversion.quants.ik.iq4_ks import IQ4_KS
from conversion.quants.ik.iq4_kss import IQ4_KSS
from conversion.quants.ik.iq4_kt import IQ4_KT
from conversion.quants.ik.iq5_k import IQ5_K
from conversion.quants.ik.iq5_ks import IQ5_KS
from conversion.quants.ik.iq6_k import IQ6_K
from conversion.quants.ik.q6_0 import Q6_0
from conversion.quants.ik.q8_kv import Q8_KV

TYPES: dict[str, QuantType] = {
    kind.name: kind
    for kind in (
        Q6_0,
        Q8_KV,
        IQ1_KT,
        IQ2_KT,
        IQ3_KT,
        IQ4_KT,
        IQ2_KS,
        IQ2_K,
        IQ2_KL,
        IQ3_KS,
        IQ3_K,
        IQ4_KSS,
        IQ4_KS,
        IQ4_K,
        IQ5_KS,
        IQ5_K,
        IQ6_K,
    )
}
