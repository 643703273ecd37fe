"""Whether a tokenizer puts special tokens around a text, read from tokenizer.json's post-processor.

| kind | what it says |
|---|---|
| ByteLevel | neither bos nor eos, unless something else says so |
| RobertaProcessing | cls before, sep after and between |
| TemplateProcessing | what its `single` begins and ends with, and what stands in the middle of its `pair` |

A template may name another end of text than tokenizer_config.json: it is taken, and the other becomes the end of a
turn.
(llama.cpp: gguf-py/gguf/vocab.py, SpecialVocab._try_load_from_tokenizer_json)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Found:
    """tokenizer_config.json, corrected by the post-processor; kinds of special tokens; what is put around a text."""

    settings: dict[str, Any]
    kinds: tuple[str, ...]
    adds: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_given = bool(self.settings)
        self.names = {kind: self.settings.get(f"{kind}_token") for kind in ("bos", "cls", "eos", "sep")}
        for kind, other in (("bos", "cls"), ("eos", "sep")):
            if not self.names[kind] and self.names[other]:
                self.rename(kind, self.names[other])

    def rename(self, kind: str, name: Any) -> None:
        self.names[kind] = name
        if self.is_given:
            self.settings[f"{kind}_token"] = name


def follow_post_processor(post: Any, found: Found) -> None:
    """`found` says what this post-processor does; anything unknown is passed over."""
    if not isinstance(post, Mapping):
        return
    for processor in post.get("processors") or [post]:
        kind = processor.get("type")
        if kind == "ByteLevel":
            found.adds.setdefault("bos", False)
            found.adds.setdefault("eos", False)
        elif kind == "RobertaProcessing":
            _follow_roberta(processor, found)
        elif kind == "TemplateProcessing":
            _follow_template(processor.get("single") or [], processor.get("pair") or [], found)


def _follow_roberta(processor: Mapping[str, Any], found: Found) -> None:
    found.adds |= {"bos": True, "eos": True, "sep": True}
    for kind, other in (("cls", "bos"), ("sep", "eos")):
        if not found.names[kind] and found.is_given:
            found.rename(kind, processor.get(kind, [found.names[other]])[0])


def _follow_template(single: list[Any], pair: list[Any], found: Found) -> None:
    first = _special(single[0]) if len(single) > 1 else None
    last = _special(single[-1]) if len(single) > 1 else None
    if first:
        _begins_with(first, found)
        found.adds["bos"] = first in (found.names["bos"], found.names["cls"])
    if last:
        _ends_with(last, found)
        found.adds["eos"] = last == found.names["eos"]
    if pair:
        start = 1 if first and _special(pair[0]) == first else 0
        stop = -1 if last and _special(pair[-1]) == last else None
        _follow_pair(pair[start:stop], found, has_end=bool(last))


def _begins_with(first: str, found: Found) -> None:
    if not found.is_given:
        found.names["bos"] = first
    elif first not in (found.names["bos"], found.names["cls"]):
        for kind in ("bos", "cls"):
            if not found.names[kind]:
                found.rename(kind, first)


def _ends_with(last: str, found: Found) -> None:
    if not found.is_given:
        found.names["eos"] = last
    elif last != found.names["eos"]:
        turn = next((kind for kind in ("eot", "eom") if kind not in found.kinds), None)
        if turn is not None:
            found.kinds += (turn,)
            found.settings[f"{turn}_token"] = found.names["eos"]
        found.rename("eos", last)


def _follow_pair(pair: list[Any], found: Found, *, has_end: bool) -> None:
    """`A [sep] [eos] B`, without what stands around it: is there a separator?"""
    is_plain = len(pair) > 2 and _sequence(pair[0]) == "A" and _sequence(pair[-1]) == "B"
    if not is_plain:
        return
    ends = (found.names["sep"], found.names["eos"])
    middle = [_special(one) for one in pair[1:-1]]
    adds = bool(middle[0]) and middle[0] in ends and not has_end
    if len(middle) == 2 and middle[1] and middle[1] in ends:
        adds = True
    found.adds["sep"] = adds
    if adds and not found.names["sep"] and found.is_given:
        found.settings["sep_token"] = found.names["eos"]


def _special(item: Mapping[str, Any]) -> str | None:
    return (item.get("SpecialToken") or {}).get("id")


def _sequence(item: Mapping[str, Any]) -> str | None:
    return (item.get("Sequence") or {}).get("id")
