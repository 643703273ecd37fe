"""What a GGUF's metadata says of the network beside what its parent's config says, and numbers that no model has.

A wrong epsilon or rope base changes every logit a little: less than quantisation does, so that no figure shows it. Only
keys that both have are compared; converters of all ages leave out what is the default. How long a context is allowed to
be changes nothing of what is said in it, and is not compared.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from conversion.formats.gguf import GgufHeader
from conversion.formats.gguf.writer import Value

NOT_COMPARED = ("context_length", "vocab_size", "rope.scaling.original_context_length")
NO_TOKEN = 2**32 - 1
"""How some converters write that there is no such token."""

Misfit = tuple[str, str]
"""What a person reads, and its code."""


def misfits(header: GgufHeader, parent: Mapping[str, Value] | None) -> Iterator[Misfit]:
    """Every number of the header that is not its parent's, or that cannot be. `parent`: the metadata it should have."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    n_tokens = tokens.length if tokens else 0
    for key, value in header.metadata.items():
        if key.endswith("_token_id") and n_tokens and _is_outside(value.preview, n_tokens):
            yield f"{key} is {value.preview}, but there are {n_tokens} tokens", "token-id-outside"
    prefix = f"{header.get('general.architecture', '')}."
    for key, wanted in (parent or {}).items():
        found = header.metadata.get(key)
        if not key.startswith(prefix) or key.removeprefix(prefix) in NOT_COMPARED:
            continue
        if found is not None and _differ(found.preview, wanted.value):
            yield f"{key} is {found.preview}, but its parent says {wanted.value}", "hyperparameter-differs"


def _is_outside(token: Any, n_tokens: int) -> bool:
    return isinstance(token, int) and token != NO_TOKEN and not 0 <= token < n_tokens


def _differ(found: Any, wanted: Any) -> bool:
    """Numbers are equal when a float32 of one is that of the other; what is no single number is not compared."""
    if not isinstance(found, (int, float)) or not isinstance(wanted, (int, float)):
        return False
    return not math.isclose(found, wanted, rel_tol=1e-6)
