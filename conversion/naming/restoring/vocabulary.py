"""The tokenizer's files from a GGUF's `tokenizer.*` keys: SentencePiece as tokenizer.model, BPE as tokenizer.json.

Restored are tokens, scores or merges, special tokens, what is put around a text, and the chat template. Not held by a
GGUF, and so not restored: how added tokens strip the spaces around them, and a normalizer beyond the pre-tokenizer's.
"""

import json
from typing import Any

from conversion.naming.base import NamingError
from conversion.naming.restoring import bpe, sentencepiece
from conversion.naming.restoring.held import Held, shortest
from conversion.naming.restoring.settings import SPECIAL

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
KINDS = {"llama": sentencepiece.files, "gpt2": bpe.files}
"""`tokenizer.ggml.model` -> (what GGUF says, tokens, their types, tokenizer_config.json) to files; fills the last."""

SAMPLING = {
    "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "temp": "temperature", "penalty_repeat": "repetition_penalty",
}  # fmt: skip
"""Key after `general.sampling.` -> what generation_config.json calls it."""

ENDS = ("eos", "eot", "eom")


def tokenizer_files(held: Held) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Files by name, and what is missing in words: nothing, or that there is no tokenizer and why."""
    kind = str(held.metadata.get("tokenizer.ggml.model", "none"))
    try:
        if kind not in KINDS:
            raise NamingError(
                "tokenizer-not-restored", f"a tokenizer of type {kind[:40]} is not restored yet"
            )
        tokens, types = _tokens(held)
        settings = _settings(held, tokens)
        files = KINDS[kind](held, tokens, types, settings)
    except NamingError as error:
        return {}, (f"{error.code}: {error.message}",)
    return files | _generation(held) | {"tokenizer_config.json": _json(settings)}, ()


def _tokens(held: Held) -> tuple[list[str], list[int]]:
    tokens = held.whole("tokenizer.ggml.tokens")
    types = held.whole("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    is_text = all(isinstance(text, str) for text in tokens) and len(set(tokens)) == len(tokens)
    if not tokens or not is_text or len(types) != len(tokens):
        raise NamingError(
            "tokenizer-not-restored", "its tokens are missing, not texts, there twice, or without types"
        )
    return tokens, types


def _settings(held: Held, tokens: list[str]) -> dict[str, Any]:
    """tokenizer_config.json, but for what the kind of tokenizer adds."""
    settings: dict[str, Any] = {"clean_up_tokenization_spaces": False}
    for kind, number in special_ids(held, len(tokens)).items():
        if kind not in ("eot", "eom"):
            settings[f"{kind}_token"] = tokens[number]
    for key in ("add_bos_token", "add_eos_token", "add_sep_token"):
        if isinstance(said := held.metadata.get(f"tokenizer.ggml.{key}"), bool):
            settings[key] = said
    if (template := held.text("tokenizer.chat_template")) is not None:
        settings["chat_template"] = template
    return settings


def special_ids(held: Held, n_tokens: int) -> dict[str, int]:
    """Kind -> id of the special tokens that are among the tokens."""
    found = {kind: held.metadata.get(f"tokenizer.ggml.{key}") for kind, key in SPECIAL.items()}
    return {kind: n for kind, n in found.items() if type(n) is int and 0 <= n < n_tokens}


def _generation(held: Held) -> dict[str, bytes]:
    """generation_config.json, where more than one token ends a text or GGUF says how to sample."""
    found = special_ids(held, 1 << 31)
    ends = list(dict.fromkeys(found[kind] for kind in ENDS if kind in found))
    said: dict[str, Any] = {"eos_token_id": ends} if len(ends) > 1 else {}
    for key, name in SAMPLING.items():
        value = held.metadata.get(f"general.sampling.{key}")
        if value is not None:
            said[name] = shortest(value) if isinstance(value, float) else value
    return {"generation_config.json": _json(said)} if said else {}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
