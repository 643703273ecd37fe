"""Which of llama.cpp's pre-tokenizers a BPE tokenizer has: `tokenizer.ggml.pre`.

The reference converter encodes one fixed text and looks up the sha256 of the ids; that names a whole vocabulary, so a
fine-tune with one more token is unknown to it. We ask the same question first, and if the answer is unknown compare the
rules themselves: normalizer, splitting, and whether whole words bypass the merges. Equal rules are the same
pre-tokenizer; anything else is an error, never a guess.
"""

import hashlib
import json
from typing import Any

from tokenizers import Tokenizer

from conversion.naming.base import NamingError

# Fixed by the reference (conversion/base.py: get_vocab_base_pre): any other text would give other digests.
PROBE = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ "
    "(multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 "
    "កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български "
    "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? "
    "'M not sure I'll make it, 'D you like some tea? We'Ve a'lL"
)

BY_DIGEST: dict[str, str] = {
    "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5": "llama-bpe",  # Llama 3
    "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249": "smollm",  # SmolLM, SmolLM2
    "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454": "gpt-2",  # GPT-2
    "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea": "qwen2",  # Qwen1.5, Qwen2, Qwen2.5
    "d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c": "qwen2",  # Qwen3 embeddings
}

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "use_regex": use_regex}


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}


_DIGITS = {"type": "Digits", "individual_digits": True}

# name -> (normalizer, whole words bypass merges, pre-tokenizer)
RULES: dict[str, tuple[str | None, bool, dict[str, Any]]] = {
    "llama-bpe": (None, True, _split(_CONTRACTIONS + _WORDS + r"|\p{N}{1,3}" + _REST)),
    "smollm": (None, False, {"type": "Sequence", "pretokenizers": [_DIGITS, _byte_level(True)]}),
    "gpt-2": (None, False, _byte_level(True)),
    "qwen2": ("NFC", False, _split(_CONTRACTIONS + _WORDS + r"|\p{N}" + _REST)),
}


def identify(tokenizer: Tokenizer, described: dict[str, Any]) -> str:
    """The name llama.cpp gives to this pre-tokenizer; `described` is the parsed tokenizer.json.

    NamingError `unknown-pre-tokenizer` says what was found and what is supported.
    """
    digest = probe_digest(tokenizer)
    by_rules = next((name for name, rules in RULES.items() if rules == _rules(described)), None)
    name = BY_DIGEST.get(digest) or by_rules
    if name is None:
        found = json.dumps(described.get("pre_tokenizer"), ensure_ascii=True)
        raise NamingError(
            "unknown-pre-tokenizer",
            f"the BPE pre-tokenizer is not one we know (sha256 of the probe {digest[:12]}…): {found[:300]}. "
            f"Supported: {', '.join(RULES)}.",
        )
    return name


def probe_digest(tokenizer: Tokenizer) -> str:
    """sha256 of the printed list of ids that the tokenizer makes of the probe."""
    return hashlib.sha256(str(tokenizer.encode(PROBE).ids).encode()).hexdigest()


def _rules(described: dict[str, Any]) -> tuple[str | None, bool, Any]:
    normalizer = described.get("normalizer")
    kind = normalizer.get("type") if isinstance(normalizer, dict) else None
    model = described.get("model")
    ignores = bool(model.get("ignore_merges")) if isinstance(model, dict) else False
    return kind, ignores, _essential(described.get("pre_tokenizer"))


def _essential(rule: Any) -> Any:
    """The rule without what does not change where text is split."""
    if isinstance(rule, list):
        return [_essential(one) for one in rule]
    if not isinstance(rule, dict):
        return rule
    if rule.get("type") == "ByteLevel":
        return _byte_level(bool(rule.get("use_regex", True)))
    return {key: _essential(value) for key, value in rule.items()}
