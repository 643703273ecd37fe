"""Checkpoints that are themselves quantised, seen as plain tensors: one scheme per file, one line here.

`config.json` says `quantization_config.quant_method`; the scheme finds the tensors that belong together
(`X.qweight`, `X.scales`, …) and shows `X.weight` in their place. Nothing is computed before rows are asked for.
"""

from collections.abc import Mapping
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.formats.packed.awq import find_awq
from conversion.formats.packed.base import Scheme, UnpackedWeights
from conversion.formats.packed.bitsandbytes import find_bitsandbytes
from conversion.formats.packed.compressed_tensors import find_compressed_tensors
from conversion.formats.packed.fp8 import find_fp8
from conversion.formats.packed.gptq import find_gptq
from conversion.formats.packed.mxfp4 import find_mxfp4
from conversion.formats.weights import Weights

__all__ = ["SCHEMES", "UnpackedWeights", "unpack"]

SCHEMES: dict[str, Scheme] = {
    "fp8": find_fp8,
    "gptq": find_gptq,
    "awq": find_awq,
    "bitsandbytes": find_bitsandbytes,
    "compressed-tensors": find_compressed_tensors,
    "mxfp4": find_mxfp4,
}


def unpack(weights: Weights, config: Mapping[str, Any]) -> Weights:
    """The same checkpoint with plain tensors; itself when `config` has no quantization_config.

    Raises HeaderError `packed-unknown` for a method that is not listed here, and `packed-…` for tensors that are not
    what the scheme says.
    """
    said = config.get("quantization_config")
    if not said:
        return weights
    method = said.get("quant_method") if isinstance(said, Mapping) else None
    find = SCHEMES.get(str(method))
    if find is None:
        raise HeaderError(
            "packed-unknown",
            f"quantization method {str(method)[:60]!r} is not one of {', '.join(SCHEMES)}; the checkpoint can be kept, "
            "not converted",
            "config.json",
        )
    return UnpackedWeights(weights, find(weights, said))
