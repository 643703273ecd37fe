"""XLM-RoBERTa: BERT with a Unigram vocabulary for a hundred languages (BGE-M3, multilingual E5, rerankers).

Positions are counted from the padding token's id + 1; ggml counts from 0. So that many rows are cut off the position
embeddings, and the context is that much shorter. (llama.cpp: conversion/bert.py, XLMRobertaModel)
"""

import gguf

from conversion.naming import bert
from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count
from conversion.naming.hyperparameters import N_LAYERS, find_count
from conversion.naming.reading import Run, of_runs
from conversion.naming.renaming import renamer
from conversion.naming.vocabulary import unigram

POSITIONS = "embeddings.position_embeddings.weight"


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor of the encoder and of a classifier in its order."""
    rename = renamer(gguf.MODEL_ARCH.BERT, find_count(config, *N_LAYERS, default=12))
    result = []
    for name, shape in shapes.items():
        plain = bert.plain_name(name, prefix="roberta.")
        if plain == POSITIONS:
            result.append(_positions(config, rename(plain), name, shape))
        elif plain is not None:
            result.append(Target(rename(plain), shape, name))
    return result


def position_offset(config: Config) -> int:
    """Rows of the position embeddings that no token uses."""
    padding = config.get("pad_token_id", 1)
    if type(padding) is not int or padding < 0:
        raise NamingError(
            "bad-config", f"config.json: pad_token_id must be a whole number, not {padding!r:.80}."
        )
    return 1 + padding


def _positions(config: Config, renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    offset = position_offset(config)
    if len(shape) != 2 or shape[0] <= offset:
        raise NamingError(
            "bad-shape", f"tensor {name[:200]!r} of shape {shape} has no rows after the first {offset}."
        )
    kept = shape[0] - offset
    return Target(renamed, (kept, shape[1]), name, read=of_runs([Run(name, offset, kept)]))


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of BERT, with the context that is left."""
    length = read_count(config, "max_position_embeddings") - position_offset(config)
    bert.describe({**config, "max_position_embeddings": length}, file_type, writer)


XLM_ROBERTA = Family(
    "bert",
    ("XLMRobertaModel", "XLMRobertaForSequenceClassification"),
    targets,
    describe,
    vocabulary=unigram.describe,
    describe_files=bert.describe_files,
)
