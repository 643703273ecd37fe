"""What a person may demand of a file type: other types for some tensors, no mixture, the output left alone.

The same as llama-quantize's --token-embedding-type, --output-tensor-type, --tensor-type, --pure and
--leave-output-tensor. Patterns are searched in a tensor's GGUF name; the first that is found decides. They come from
strangers, so they are held to forms that cannot run for ever: a group that repeats holds neither a repetition nor a
choice, nothing refers back, and there are at most `MAX_REPETITIONS` open-ended repetitions in a row (names have at most
63 bytes, so the worst case is some ten thousand steps).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.naming.base import NamingError

MAX_PATTERNS = 256
MAX_PATTERN_CHARACTERS = 200
MAX_REPETITIONS = 3

_SIGN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?:)?|\)|\||[*+?]\??|\{\d*(?:,\d*)?\}\??|.", re.DOTALL
)


@dataclass(frozen=True)
class Overrides:
    """Types for the token embeddings and for the output, patterns with a type each, and two flags; "" is no demand."""

    token_embedding: str = ""
    output: str = ""
    tensor_types: tuple[tuple[str, str], ...] = ()
    pure: bool = False
    leave_output: bool = False
    _compiled: tuple[tuple[re.Pattern[str], str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in filter(None, (self.token_embedding, self.output)):
            check_type(name)
        if len(self.tensor_types) > MAX_PATTERNS:
            raise NamingError(
                "bad-pattern", f"{len(self.tensor_types)} patterns; at most {MAX_PATTERNS} are taken."
            )
        compiled = tuple((compile_pattern(text), check_type(name)) for text, name in self.tensor_types)
        object.__setattr__(self, "_compiled", compiled)

    def named_type(self, name: str) -> str:
        """The type that the first matching pattern demands of a tensor, or ""."""
        return next((kind for pattern, kind in self._compiled if pattern.search(name)), "")

    def as_json(self) -> dict[str, Any]:
        """Only what is demanded, ready for a recipe; {} for nothing. Equal demands give equal objects."""
        everything: dict[str, Any] = {
            "leave_output": self.leave_output,
            "output": self.output,
            "pure": self.pure,
            "tensor_types": [list(pair) for pair in self.tensor_types],
            "token_embedding": self.token_embedding,
        }
        return {key: value for key, value in everything.items() if value}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Overrides":
        """The overrides of a recipe's content; NamingError `bad-overrides` for what `as_json` never gives."""
        known = {
            "leave_output": bool,
            "output": str,
            "pure": bool,
            "tensor_types": list,
            "token_embedding": str,
        }
        for key, value in content.items():
            if key not in known or not isinstance(value, known[key]):
                raise NamingError(
                    "bad-overrides", f"{key!r:.60} is not an override, or not one of this kind."
                )
        pairs = content.get("tensor_types", [])
        if not all(isinstance(pair, list) and [type(part) for part in pair] == [str, str] for pair in pairs):
            raise NamingError("bad-overrides", "tensor_types must be pairs of a pattern and a type.")
        return cls(**{**content, "tensor_types": tuple((pattern, kind) for pattern, kind in pairs)})


def check_type(name: str) -> str:
    """The ggml type of that name in any case, as ggml spells it; NamingError `unknown-type` otherwise."""
    kind = TYPE_BY_NAME.get(name.upper())
    if kind is None or kind.removed or kind.fork:
        raise NamingError("unknown-type", f"{name[:60]!r} is not a ggml type, such as Q4_K or F16.")
    return kind.name


def parse_tensor_types(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(pattern, type) of each `PATTERN=TYPE`; the type stands after the last `=`."""
    pairs: list[tuple[str, str]] = []
    for text in texts:
        pattern, sign, kind = text.rpartition("=")
        if not sign or not pattern:
            raise NamingError("bad-pattern", f"{text[:80]!r} is not PATTERN=TYPE, such as ffn_down=Q6_K.")
        pairs.append((pattern, check_type(kind)))
    return tuple(pairs)


def compile_pattern(text: str) -> re.Pattern[str]:
    """The pattern, compiled; NamingError `bad-pattern` if it is none or could take for ever."""
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise NamingError("bad-pattern", f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters.")
    if fault := _fault(text):
        raise NamingError("bad-pattern", f"{text[:80]!r} is refused: {fault}.")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise NamingError("bad-pattern", f"{text[:80]!r} is not a pattern: {error}.") from error


def _fault(text: str) -> str:
    """What makes a pattern dangerous, or ""."""
    groups = [False]  # whether each open group holds a repetition or a choice
    closed, n_open = False, 0
    for sign in _SIGN.findall(text):
        is_repetition = sign[0] in "*+{" and (sign[0] != "{" or len(sign) > 1)
        if is_repetition or sign in {"?", "??"}:
            if closed and is_repetition:
                return "a group that repeats may not hold repetitions or choices"
            groups[-1] = True
            n_open += is_repetition
        elif sign == "|":
            groups[-1] = True
        elif sign[0] == "(":
            groups.append(False)
        elif sign == "\\" or (sign[0] == "\\" and sign[1] in "123456789"):
            return "it refers back to a group"
        closed = sign == ")" and len(groups) > 1 and groups.pop()
        groups[-1] = groups[-1] or closed
    if "(?" in text.replace("(?:", ""):
        return "of the extensions only (?:...) is allowed"
    return f"more than {MAX_REPETITIONS} repetitions" if n_open > MAX_REPETITIONS else ""
