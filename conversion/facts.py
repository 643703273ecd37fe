"""What a commit says about itself, gathered from its own small files and the metadata of its GGUF files.

Pure: bytes in, `Facts` out. Nothing here is believed in the sense of being acted upon; it is what the author declares,
cut to sizes that a catalog keeps. Precedence: the model card, then the files, then what the hub would infer.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from conversion.formats.gguf import GgufHeader
from registry.card import Card, jsonable, read_card, storable, texts

Json = dict[str, Any]

SMALL_FILES: dict[str, int] = {
    "README.md": 8_000_000,
    "config.json": 4_000_000,
    "tokenizer_config.json": 16_000_000,
    "adapter_config.json": 4_000_000,
    "LICENSE": 200_000,
    "LICENSE.txt": 200_000,
    "LICENSE.md": 200_000,
}
"""The files at the top of a commit that facts are read from, with the most bytes of each that we look at."""

MAX_COUNT = 2**63 - 1  # what a database integer holds
CONTEXT_KEYS = (
    "max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len", "max_sequence_length",
    "model_max_length",
)  # fmt: skip
CONFIG_KEYS = (
    "model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "dtype", "torch_dtype", "tie_word_embeddings",
    "sliding_window", "num_experts", "num_local_experts", "num_experts_per_tok", "transformers_version",
)  # fmt: skip
GGUF_KEYS = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "vocab_size": "vocab_size",
    "num_experts": "expert_count",
}
TASKS = {
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
    "ForCTC": "automatic-speech-recognition",
    "ForSpeechSeq2Seq": "automatic-speech-recognition",
}
"""Ending of an architecture -> the task the hub infers from it."""

LICENCES: list[tuple[str, str]] = [
    (r"Apache License\s+Version 2\.0", "apache-2.0"),
    (r"MIT License|Permission is hereby granted, free of charge, to any person obtaining a copy", "mit"),
    (r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3", "agpl-3.0"),
    (r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3", "lgpl-3.0"),
    (r"GNU GENERAL PUBLIC LICENSE\s+Version 3", "gpl-3.0"),
    (r"GNU GENERAL PUBLIC LICENSE\s+Version 2", "gpl-2.0"),
    (r"CC0 1\.0 Universal", "cc0-1.0"),
    (r"Attribution-NonCommercial-ShareAlike 4\.0 International", "cc-by-nc-sa-4.0"),
    (r"Attribution-NonCommercial 4\.0 International", "cc-by-nc-4.0"),
    (r"Attribution-ShareAlike 4\.0 International", "cc-by-sa-4.0"),
    (r"Attribution 4\.0 International", "cc-by-4.0"),
    (r"BSD 3-Clause License", "bsd-3-clause"),
]
RELATIONS = {"finetune", "adapter", "merge", "quantized"}

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPO_ID = re.compile(rf"{_NAME}(?:/{_NAME})?")
_HUB_URL = re.compile(rf"https?://[^/\s]+/({_NAME}/{_NAME})/?")
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Facts:
    """The columns of Commit that inspection fills, and the parents that the author declares."""

    card: Card = field(default_factory=Card)
    architecture: str = ""
    context_length: int | None = None
    license: str = ""
    pipeline_tag: str = ""
    library_name: str = ""
    tags: list[str] = field(default_factory=list)
    base_models: list[str] = field(default_factory=list)
    relation: str = "finetune"
    details: Json = field(default_factory=dict)


def gather_facts(
    files: Mapping[str, bytes],
    paths: Iterable[str],
    gguf: GgufHeader | None = None,
    upstream_info: Json | None = None,
) -> Facts:
    """Facts from `files` (those of `SMALL_FILES` that are there), all `paths` of the commit, and one GGUF header.

    `upstream_info` is what the upstream hub said of the repo: it fills pipeline and library if nothing else does.
    """
    card, paths, info = read_card(files.get("README.md", b"")), list(paths), upstream_info or {}
    config, adapter = _json(files, "config.json"), _json(files, "adapter_config.json")
    formats = formats_of(paths)
    licence, licence_from = _licence(card, files, gguf)
    library = _first(texts(card.data.get("library_name")), _library(config, adapter, formats, paths))
    library = library or _first(texts(info.get("library_name")))
    is_quantized = formats == ["gguf"] or "quantization_config" in config
    base_models = _base_models(card, adapter, gguf)
    details: Json = {
        "formats": formats,
        "config": _config(config, gguf),
        "tokenizer": _tokenizer(_json(files, "tokenizer_config.json"), config, gguf, paths),
        "languages": texts(card.data.get("language")),
        "license_from": licence_from,
        "license_name": _first(texts(card.data.get("license_name"))),
    }
    if card.refused:
        details["card_refused"] = {"code": card.refused.code, "message": card.refused.message}
    return Facts(
        card=card,
        architecture=_architecture(config, gguf)[:100],
        context_length=_context_length(config, gguf),
        license=licence[:100],
        pipeline_tag=_first(
            texts(card.data.get("pipeline_tag")), _task(config), texts(info.get("pipeline_tag"))
        )[:100],
        library_name=library[:100],
        tags=_tags(card, formats),
        base_models=base_models,
        relation=_relation(card, bool(adapter) or library == "peft", is_quantized, len(base_models)),
        details={name: value for name, value in details.items() if value},
    )


def formats_of(paths: Iterable[str]) -> list[str]:
    """The weight formats that the names of the files show, in alphabetical order."""
    endings = {
        ".safetensors": "safetensors", ".gguf": "gguf", ".bin": "pytorch", ".pt": "pytorch", ".pth": "pytorch",
        ".ckpt": "pytorch", ".onnx": "onnx",
    }  # fmt: skip
    return sorted(
        {endings[end] for path in paths if (end := "." + path.rpartition(".")[2].lower()) in endings}
    )


def _json(files: Mapping[str, bytes], path: str) -> Json:
    try:
        value = json.loads(files.get(path, b"{}").decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    # Cleaned once, here: half a surrogate pair or a NUL in a name would stop a whole commit from being recorded.
    return cast(Json, jsonable(value)) if isinstance(value, dict) else {}


def _architecture(config: Json, gguf: GgufHeader | None) -> str:
    declared = _first(texts(config.get("model_type")), texts(config.get("architectures")))
    return declared or storable(_text(gguf, "general.architecture"))


def _context_length(config: Json, gguf: GgufHeader | None) -> int | None:
    nested = config.get("text_config")
    for source in (config, nested if isinstance(nested, dict) else {}):
        for key in CONTEXT_KEYS:
            if (length := _count(source.get(key))) is not None:
                return length
    return _count(_of_model(gguf, "context_length"))


def _licence(card: Card, files: Mapping[str, bytes], gguf: GgufHeader | None) -> tuple[str, str]:
    """The licence's id, and the file that says so."""
    if declared := texts(card.data.get("license")):
        return declared[0].lower(), "README.md"
    for path in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        text = files.get(path, b"")[:4096].decode("utf-8", "replace")
        for pattern, licence in LICENCES:
            if re.search(pattern, text):
                return licence, path
    declared_by_gguf = storable(_text(gguf, "general.license"))
    return declared_by_gguf.lower(), "GGUF metadata" if declared_by_gguf else ""


def _library(config: Json, adapter: Json, formats: list[str], paths: list[str]) -> list[str]:
    markers: list[tuple[str, Callable[[], bool]]] = [
        ("peft", lambda: bool(adapter)),
        ("diffusers", lambda: "model_index.json" in paths),
        ("sentence-transformers", lambda: "modules.json" in paths),
        ("transformers", lambda: "model_type" in config or "architectures" in config),
        ("gguf", lambda: formats == ["gguf"]),
    ]
    return [library for library, is_shown in markers if is_shown()]


def _task(config: Json) -> list[str]:
    for architecture in texts(config.get("architectures")):
        for ending, task in TASKS.items():
            if architecture.endswith(ending):
                return [task]
    return []


def _tags(card: Card, formats: list[str]) -> list[str]:
    papers = [f"arxiv:{number}" for number in _ARXIV.findall(card.text)][:50]
    return list(dict.fromkeys([*texts(card.data.get("tags")), *formats, *papers]))


def _config(config: Json, gguf: GgufHeader | None) -> Json:
    """The shape of the model, under the names transformers uses whatever file says it."""
    found = {name: _of_model(gguf, key) for name, key in GGUF_KEYS.items()} if gguf else {}
    found |= {key: config[key] for key in CONFIG_KEYS if key in config}
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict):
        found["quantization"] = quantization.get("quant_method")
    return {name: _short(value) for name, value in found.items() if value is not None}


def _tokenizer(tokenizer: Json, config: Json, gguf: GgufHeader | None, paths: list[str]) -> Json:
    tokens = gguf.metadata.get("tokenizer.ggml.tokens") if gguf else None
    kind = _first(texts(tokenizer.get("tokenizer_class"))) or storable(_text(gguf, "tokenizer.ggml.model"))
    template = tokenizer.get("chat_template") or "chat_template.jinja" in paths
    found = {
        "kind": kind[:100],
        "vocab_size": _count(config.get("vocab_size")) or (tokens.length if tokens else None),
        "files": [
            path for path in paths if path.startswith(("tokenizer", "vocab", "merges")) and "/" not in path
        ][:20],
        "has_chat_template": bool(template or (gguf and gguf.get("tokenizer.chat_template"))) or None,
    }
    return {name: value for name, value in found.items() if value}


def _base_models(card: Card, adapter: Json, gguf: GgufHeader | None) -> list[str]:
    """Repo ids of the declared parents, each once. What is not a repo id, such as a path, is not a parent."""
    declared = texts(card.data.get("base_model"))
    if not declared:
        # A name without a namespace is a canonical repo in a card, but most likely a folder in an adapter's config.
        declared = [name for name in texts(adapter.get("base_model_name_or_path")) if "/" in name]
    if not declared and gguf:
        n_bases = _count(gguf.get("general.base_model.count")) or 0
        urls = [_text(gguf, f"general.base_model.{i}.repo_url") for i in range(min(n_bases, 20))]
        declared = [match[1] for url in urls if (match := _HUB_URL.fullmatch(url))]
    found = {name.lower(): name for name in reversed(declared) if _REPO_ID.fullmatch(name)}
    return list(reversed(found.values()))


def _relation(card: Card, is_adapter: bool, is_quantized: bool, n_bases: int) -> str:
    """As declared, else as the hub infers it: adapter, then merge of several, then quantization, then fine-tune."""
    declared = _first(texts(card.data.get("base_model_relation")))
    if declared in RELATIONS:
        return declared
    if is_adapter:
        return "adapter"
    if n_bases > 1:
        return "merge"
    return "quantized" if is_quantized else "finetune"


def _of_model(gguf: GgufHeader | None, key: str) -> Any:
    """`llama.context_length` for `context_length`, whatever the architecture."""
    return gguf.get(f"{_text(gguf, 'general.architecture')}.{key}") if gguf else None


def _text(gguf: GgufHeader | None, key: str) -> str:
    value = gguf.get(key) if gguf else None
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= MAX_COUNT else None


def _short(value: Any) -> Any:
    """A value of a config that fits a page: a list's first eight items, a text's first hundred characters."""
    if isinstance(value, list | tuple):
        return [_short(item) for item in value[:8]]
    if type(value) is int and abs(value) > MAX_COUNT:
        return str(value)[:100]
    plain = jsonable(value)
    return plain if isinstance(plain, bool | int | float | None) else str(plain)[:100]


def _first(*lists: list[str]) -> str:
    return next((found[0] for found in lists if found), "")
