"""BERT: BertModel and the models around it, as makers of embeddings or, with a classifier, of scores.

Attention looks both ways; how a text's vectors become one (mean, first token, last token) is written in
sentence-transformers' files beside the weights. Pooler and language-model head are left out, since llama.cpp pools by
itself. Checkpoints from TensorFlow call a norm's weight `gamma` and its bias `beta`. (llama.cpp: conversion/bert.py)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target
from conversion.naming.hyperparameters import N_LAYERS, describe_hyperparameters, find_count
from conversion.naming.renaming import BUFFERS, renamer
from conversion.naming.vocabulary import wordpiece
from conversion.naming.vocabulary.files import read_json, read_list

LEFT_OUT = ("pooler.dense.weight", "pooler.dense.bias")
HEADS = ("cls.predictions", "cls.seq_relationship", "lm_head.")

POOLING_KEYS = {
    "pooling_mode_mean_tokens": gguf.PoolingType.MEAN,
    "pooling_mode_cls_token": gguf.PoolingType.CLS,
    "pooling_mode_lasttoken": gguf.PoolingType.LAST,
}
POOLING_MODES = {
    "mean": gguf.PoolingType.MEAN,
    "cls": gguf.PoolingType.CLS,
    "lasttoken": gguf.PoolingType.LAST,
}


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor of the encoder in its order, and of the classifier where the config names classes."""
    rename = renamer(gguf.MODEL_ARCH.BERT, find_count(config, *N_LAYERS, default=12))
    is_classifier = bool(class_labels(config))
    result = []
    for name, shape in shapes.items():
        plain = plain_name(name)
        if plain is None:
            continue
        if is_classifier and plain in ("classifier.weight", "classifier.bias"):
            plain = plain.replace("classifier.", "classifier.out_proj.")
        result.append(Target(rename(plain), shape, name))
    return result


def plain_name(name: str, prefix: str = "bert.") -> str | None:
    """The tensor's name without prefix and in one spelling; None for what an embedding does not need."""
    plain = name.removeprefix(prefix)
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if plain.endswith(old):
            plain = plain.removesuffix(old) + new
    is_left_out = plain in LEFT_OUT or plain.startswith(HEADS) or plain.endswith(BUFFERS)
    return None if is_left_out else plain


def class_labels(config: Config) -> list[str]:
    """The names of the classes in their order; none for the two that transformers writes into every config."""
    found = config.get("id2label")
    if not isinstance(found, Mapping) or not found:
        return []
    try:
        labels = [str(label) for _, label in sorted((int(number), label) for number, label in found.items())]
    except (TypeError, ValueError) as error:
        raise NamingError("bad-config", "config.json: the keys of id2label must be numbers.") from error
    return [] if len(labels) == 2 and labels[0] == "LABEL_0" else labels


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys that most families have, and that attention looks both ways."""
    describe_hyperparameters(config, file_type, writer)
    writer.add_causal_attention(False)


def describe_files(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """How vectors are pooled, if sentence-transformers' files say so, and the names of the classes."""
    pooling = read_pooling(folder)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    if class_labels(config):
        writer.add_classifier_output_labels(class_labels(config))


def read_pooling(folder: Path) -> gguf.PoolingType | None:
    """What modules.json and the pooling module's config say; None without them."""
    modules = read_list(folder / "modules.json")
    module = next((one for one in modules if str(one.get("type", "")).endswith("Pooling")), None)
    if module is None:
        return None
    described = _read_module(folder, module)
    for key, kind in POOLING_KEYS.items():
        if described.get(key):
            return kind
    mode = described.get("pooling_mode")
    if mode in POOLING_MODES:
        return POOLING_MODES[mode]
    raise NamingError(
        "unsupported-pooling",
        f"the pooling in {str(module.get('path'))[:60]!r} is not one llama.cpp knows. Supported: "
        f"{', '.join(POOLING_MODES)}.",
    )


def _read_module(folder: Path, module: Mapping[str, Any]) -> dict[str, Any]:
    """The module's config.json; its folder must be a plain name, so that nothing outside is read."""
    path = module.get("path")
    if not isinstance(path, str) or not path or Path(path).name != path or path in (".", ".."):
        raise NamingError("bad-config", f"modules.json: {path!r:.60} is not the name of a folder.")
    return read_json(folder / path / "config.json")


BERT = Family(
    "bert",
    ("BertModel", "BertForMaskedLM", "BertForSequenceClassification"),
    targets,
    describe,
    vocabulary=wordpiece.describe,
    describe_files=describe_files,
)
