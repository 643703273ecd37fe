"""`tokenizer.json` of a byte-level BPE: the rules of its pre-tokenizer are known by the name that GGUF gives."""

import json
from typing import Any

from conversion.naming.base import NamingError
from conversion.naming.restoring.held import Held
from conversion.naming.vocabulary.pretokenizer_rules import RULES, SHARED

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
RULE_OF = {name: rule for (rule, _), name in SHARED.items()}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def files(held: Held, tokens: list[str], types: list[int], settings: dict[str, Any]) -> dict[str, bytes]:
    """tokenizer.json; `settings` names the class."""
    name = str(held.metadata.get("tokenizer.ggml.pre", "none"))
    rules = RULES.get(RULE_OF.get(name, name))
    if rules is None:
        raise NamingError(
            "tokenizer-not-restored",
            f"the rules of its pre-tokenizer {name[:40]} are not known; take tokenizer.json from the original",
        )
    normalizer, ignores_merges, splitting = rules
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    described = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": added_tokens(tokens, types, (CONTROL, USER_DEFINED)),
        "normalizer": normalizer and {"type": normalizer}, "pre_tokenizer": _complete(splitting),
        "post_processor": post_processor(tokens, settings, [BYTE_LEVEL | {"use_regex": True}]),
        "decoder": BYTE_LEVEL | {"add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignores_merges,
            "vocab": {text: n for n, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind != UNUSED},
            "merges": held.whole("tokenizer.ggml.merges"),
        },
    }  # fmt: skip
    return {"tokenizer.json": json.dumps(described, ensure_ascii=False).encode("utf-8", "surrogateescape")}


def added_tokens(tokens: list[str], types: list[int], kinds: tuple[int, ...]) -> list[dict[str, Any]]:
    """The tokens of these kinds as tokenizer.json lists what is found in a text before anything else."""
    return [
        {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": kind != USER_DEFINED}
        for number, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in kinds
    ]  # fmt: skip


def _complete(rule: Any) -> Any:
    """The rule with what `pretokenizers` leaves out because it does not change where a text is split."""
    if isinstance(rule, list):
        return [_complete(one) for one in rule]
    if not isinstance(rule, dict):
        return rule
    if rule.get("type") == "ByteLevel":
        return BYTE_LEVEL | {"use_regex": rule["use_regex"]}
    return {key: _complete(value) for key, value in rule.items()}


def post_processor(
    tokens: list[str], settings: dict[str, Any], plain: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """`plain`, and what puts the first and last token that `settings` names around a text.

    None where there is neither, or where GGUF says nothing of it.
    """
    if not {"add_bos_token", "add_eos_token"} & settings.keys():
        return None
    first, last = (
        [settings[f"{kind}_token"]]
        if settings.get(f"add_{kind}_token") and f"{kind}_token" in settings
        else []
        for kind in ("bos", "eos")
    )
    if not first and not last:
        return plain[0] if plain else None

    def around(sequence: str, type_id: int) -> list[dict[str, Any]]:
        said = [{"Sequence": {"id": sequence, "type_id": type_id}}]
        put = [
            [{"SpecialToken": {"id": text, "type_id": type_id}} for text in part] for part in (first, last)
        ]
        return [*put[0], *said, *put[1]]

    special = {text: {"id": text, "ids": [tokens.index(text)], "tokens": [text]} for text in {*first, *last}}
    template = {
        "type": "TemplateProcessing", "single": around("A", 0), "pair": around("A", 0) + around("B", 1)[len(first):],
        "special_tokens": special,
    }  # fmt: skip
    return {"type": "Sequence", "processors": [*plain, template]} if plain else template
