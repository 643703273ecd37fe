"""Which of llama.cpp's pre-tokenizers a BPE tokenizer has: `tokenizer.ggml.pre`.

The reference converter encodes one fixed text and looks up the sha256 of the ids; that names a whole vocabulary, so a
vocabulary of one's own is unknown to it. We ask the same question first, and if the answer is unknown compare the
rules themselves: normalizer, splitting, and whether whole words bypass the merges. Equal rules are the same
pre-tokenizer; anything else is an error, never a guess.
"""

import hashlib
import json
from typing import Any

from tokenizers import Tokenizer

from conversion.naming.base import NamingError
from conversion.naming.vocabulary.files import refused_by_library
from conversion.naming.vocabulary.pretokenizer_rules import BY_DIGEST, NAMES, RULES, SHARED, Rule, byte_level

# Fixed by the reference (conversion/base.py: get_vocab_base_pre): any other text would give other digests.
PROBE = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ "
    "(multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 "
    "កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български "
    "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? "
    "'M not sure I'll make it, 'D you like some tea? We'Ve a'lL"
)


def identify(tokenizer: Tokenizer, described: dict[str, Any], architecture: str = "") -> str:
    """The name llama.cpp gives to this pre-tokenizer; `described` is the parsed tokenizer.json.

    Where several names share the rules, `architecture` (as GGUF names it) decides. NamingError `unknown-pre-tokenizer`
    says what was found and what is supported.
    """
    digest = probe_digest(tokenizer)
    by_rules = next((name for name, rules in RULES.items() if rules == _rules(described)), None)
    if by_rules is not None:
        by_rules = SHARED.get((by_rules, architecture), by_rules)
    name = BY_DIGEST.get(digest) or by_rules
    if name is None:
        found = json.dumps(described.get("pre_tokenizer"), ensure_ascii=True)
        raise NamingError(
            "unknown-pre-tokenizer",
            f"the BPE pre-tokenizer is not one we know (sha256 of the probe {digest[:12]}…): {found[:300]}. "
            f"Supported: {', '.join(RULES)}. If you know that it splits as one of llama.cpp's does, name that one.",
        )
    return name


def check_stated(name: str) -> str:
    """The name a person gave, if it is one that llama.cpp knows; NamingError `unknown-pre-tokenizer` otherwise."""
    if name not in NAMES:
        raise NamingError(
            "unknown-pre-tokenizer",
            f"{name[:60]!r} is not a pre-tokenizer we know. Supported: {', '.join(sorted(NAMES))}.",
        )
    return name


def probe_digest(tokenizer: Tokenizer) -> str:
    """sha256 of the printed list of ids that the tokenizer makes of the probe."""
    with refused_by_library():
        ids = tokenizer.encode(PROBE).ids
    return hashlib.sha256(str(ids).encode()).hexdigest()


def _rules(described: dict[str, Any]) -> Rule:
    model = described.get("model")
    ignores = bool(model.get("ignore_merges")) if isinstance(model, dict) else False
    rule = _essential(described.get("pre_tokenizer"))
    return _normalizer(described.get("normalizer")), ignores, _found_as_isolated(rule)


def _normalizer(normalizer: Any) -> str | None:
    """The one normalizer there is, by kind; an empty sequence is none, a longer one is what no rule has."""
    if not isinstance(normalizer, dict):
        return None
    kind = str(normalizer.get("type"))
    inner = normalizer.get("normalizers")
    if kind != "Sequence" or not isinstance(inner, list) or len(inner) > 1:
        return kind
    return _normalizer(inner[0]) if inner else None


def _found_as_isolated(rule: Any) -> Any:
    """`Removed` with `invert` keeps what the pattern finds, as `Isolated` does where it finds everything.

    Every listed rule of one single Split finds every character; so the two are the same there, and only there.
    """
    parts = rule.get("pretokenizers") if isinstance(rule, dict) else None
    if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[0], dict):
        return rule
    if (parts[0].get("behavior"), parts[0].get("invert")) != ("Removed", True):
        return rule
    return rule | {"pretokenizers": [parts[0] | {"behavior": "Isolated", "invert": False}, parts[1]]}


def _essential(rule: Any) -> Any:
    """The rule without what does not change where text is split."""
    if isinstance(rule, list):
        return [_essential(one) for one in rule]
    if not isinstance(rule, dict):
        return rule
    if rule.get("type") == "ByteLevel":
        return byte_level(bool(rule.get("use_regex", True)))
    return {key: _essential(value) for key, value in rule.items()}
