"""Gemma 2: Gemma with norms on both sides of attention and of the feed-forward, soft caps and a sliding window.

(llama.cpp: conversion/gemma.py, Gemma2Model)
"""

from pathlib import Path

import gguf

from conversion.naming import gemma
from conversion.naming.base import Config, Family, read_count, read_number
from conversion.naming.vocabulary import sentencepiece


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of Gemma, then the caps and the window."""
    gemma.describe_gemma(config, file_type, writer, n_key_heads=4)
    writer.add_attn_logit_softcapping(read_number(config, "attn_logit_softcapping", 50.0))
    writer.add_final_logit_softcapping(read_number(config, "final_logit_softcapping", 30.0))
    writer.add_sliding_window(read_count(config, "sliding_window", 4096))


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """A SentencePiece vocabulary, and no space before a text."""
    sentencepiece.describe(config, folder, writer)
    writer.add_add_space_prefix(False)


GEMMA2 = Family(
    "gemma2",
    ("Gemma2ForCausalLM",),
    gemma.renamed_with_norms(gguf.MODEL_ARCH.GEMMA2),
    describe,
    vocabulary=vocabulary,
)
