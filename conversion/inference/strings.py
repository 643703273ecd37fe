"""The strings that a tokenizer is asked about: what goes wrong in one container and not in another.

Runs of spaces and newlines, code, digits, scripts, normal forms, marks, emoji, control characters, very long words,
and the texts of special tokens of well-known models. Bytes that are no UTF-8 cannot be asked for; U+0000 and U+FFFD
can.
"""

import hashlib
import json
from functools import cache

from conversion.inference.windows import FOLDER

NAME = "strings.json"
SHA256 = "41b20c4331a5c9d5f7e2bca2f0db44d5b614fed4d1adba0bc9d61ef748804e9f"
"""In every report, as those of the evaluation texts."""


@cache
def read_strings() -> tuple[str, ...]:
    """The shipped strings, each once. Raises ValueError if they are not, byte for byte, the ones that we publish."""
    data = (FOLDER / NAME).read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != SHA256:
        raise ValueError(f"{NAME}: sha256 is {actual}, expected {SHA256}; reinstall it")
    return tuple(text for group in json.loads(data).values() for text in group)
