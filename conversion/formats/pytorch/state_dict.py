"""From whatever a file holds to one flat dict of tensors.

The rule, in this order:

1. A file that holds a dict with no tensor directly in it, but with a dict of tensors under one of `WRAPPERS`
   (`state_dict`, `model`, …), means that dict; the first of `WRAPPERS` that is there wins. Repeated, for trainers wrap
   twice. What lies beside it (an optimizer, a step) is left out.
2. Dicts within are flattened with dots, lists and tuples with their position: `{"w": (data, scale)}` is `w.0`, `w.1`.
3. What is neither a tensor nor a container is no weight and is left out.
"""

from collections.abc import Iterator
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.pytorch.views import View
from conversion.formats.safetensors import MAX_NAME_CHARACTERS

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
MAX_DEPTH = 16
MAX_VALUES = 1_000_000
"""Values looked at. A dict that appears in two places is looked at twice, and a chain of such doubles each time."""

MAX_TENSORS = 100_000
"""Twice as many as `MAX_OPCODES` can make one by one; more can only come from dicts in several places."""

MAX_TIMES_SHOWN = 8
"""Bytes of all tensors together, in sizes of all storages: tied weights show a storage twice, nothing honest more."""


def flattened(value: Any) -> dict[str, View]:
    """Name -> tensor, in the file's order, by the rule above; HeaderError where names or nesting are absurd."""
    tensors: dict[str, View] = {}
    for n_values, (name, found) in enumerate(_walk(_weights_of(value), "", 0), start=1):
        if n_values > MAX_VALUES:
            raise HeaderError("pt-nested", f"more than {MAX_VALUES} values, one inside the other")
        if not isinstance(found, View):
            continue
        if not name or len(name) > MAX_NAME_CHARACTERS or "\0" in name:
            raise HeaderError(
                "pt-name", f"a tensor's name has 1 to {MAX_NAME_CHARACTERS} characters and no NUL"
            )
        if name in tensors:
            raise HeaderError(
                "pt-duplicate-tensor",
                "two tensors have this name once they are flattened",
                f"tensor {quoted(name)}",
            )
        if len(tensors) == MAX_TENSORS:
            raise HeaderError("pt-tensor-count", f"more than {MAX_TENSORS} tensors, which is the limit")
        tensors[name] = found
    if not tensors:
        raise HeaderError("pt-no-tensors", f"the file holds a {type(value).__name__} without tensors")
    _check_sharing(tensors)
    return tensors


def aliases(tensors: dict[str, View]) -> dict[str, str]:
    """For each tensor that is the very same view as an earlier one: its name -> that one's name (tied weights)."""
    first: dict[View, str] = {}
    return {name: owner for name, view in tensors.items() if (owner := first.setdefault(view, name)) != name}


def _weights_of(value: Any) -> Any:
    for _ in range(MAX_DEPTH):
        if not isinstance(value, dict) or any(isinstance(inner, View) for inner in value.values()):
            return value
        inside = next(
            (value[key] for key in WRAPPERS if isinstance(value.get(key), dict) and value[key]), None
        )
        if inside is None:
            return value
        value = inside
    return value


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every value below, containers included, with its dotted name."""
    yield name, value
    if isinstance(value, dict):
        inner: Any = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    else:
        return
    if depth == MAX_DEPTH:
        raise HeaderError("pt-nested", f"containers nested more than {MAX_DEPTH} deep")
    for key, found in inner:
        # Names grow with depth only, and not beyond what is refused anyway.
        below = f"{name}.{key}" if name else str(key)
        yield from _walk(found, below[: MAX_NAME_CHARACTERS + 1], depth + 1)


def _check_sharing(tensors: dict[str, View]) -> None:
    shown = sum(view.size_bytes for view in tensors.values())
    held = sum({view.storage.key: view.storage.size_bytes for view in tensors.values()}.values())
    if shown > MAX_TIMES_SHOWN * held:
        raise HeaderError(
            "pt-sharing",
            f"tensors of {shown} bytes in all share storages of {held}; at most {MAX_TIMES_SHOWN} times is read",
        )
