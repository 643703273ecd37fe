"""Checkpoints of llama2.c (versions 0, 1 and 2) as Weights with the names of Hugging Face's Llama."""

from conversion.formats.llama2c.header import HEADER_BYTES, is_llama2c, read_header
from conversion.formats.llama2c.weights import Llama2cWeights, open_llama2c, read_entries

__all__ = ["HEADER_BYTES", "Llama2cWeights", "is_llama2c", "open_llama2c", "read_entries", "read_header"]
