"""The JSON files of a tokenizer, read with a limit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conversion.naming.base import Config, NamingError, read_count

MAX_TOKENIZER_BYTES = 200_000_000
"""Several times the largest tokenizer known (34 MB)."""

MAX_TOKENS = 1 << 20
"""The largest vocabulary known has 901629 tokens (XLM-V). Those that a config claims to have are made up one by one."""

UNUSED_SCORE, ADDED_SCORE = -10000.0, -1000.0


def read_vocab_size(config: Config) -> int:
    """The number of tokens by the config; NamingError `bad-config` above MAX_TOKENS."""
    size = read_count(config, "vocab_size")
    if size > MAX_TOKENS:
        raise NamingError("bad-config", f"config.json: vocab_size is {size}; at most {MAX_TOKENS} are read.")
    return size


def read_json(path: Path) -> dict[str, Any]:
    """The object in that file, {} if there is no such file; NamingError `bad-tokenizer` if it is something else."""
    found = _parse(path, {})
    if not isinstance(found, dict):
        raise NamingError("bad-tokenizer", f"{path.name} is not an object.")
    return found


def read_list(path: Path) -> list[dict[str, Any]]:
    """The list of objects in that file, [] if there is no such file; NamingError `bad-tokenizer` otherwise."""
    found = _parse(path, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise NamingError("bad-tokenizer", f"{path.name} is not a list of objects.")
    return found


def _parse(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(read_limited(path))
    except (ValueError, RecursionError) as error:
        raise NamingError("bad-tokenizer", f"{path.name} is not JSON: {str(error)[:200]}") from error


def read_limited(path: Path) -> bytes:
    """All bytes of a file of a tokenizer; NamingError `bad-tokenizer` above MAX_TOKENIZER_BYTES."""
    size_bytes = path.stat().st_size
    if size_bytes > MAX_TOKENIZER_BYTES:
        raise NamingError(
            "bad-tokenizer", f"{path.name} has {size_bytes} bytes; at most {MAX_TOKENIZER_BYTES} are read."
        )
    return path.read_bytes()


@contextmanager
def refused_by_library() -> Iterator[None]:
    """Whatever the tokenizers library raises within becomes NamingError `bad-tokenizer`.

    It raises bare Exception for all it cannot do, and where it panics (a broken table of replacements) not even that.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, NamingError):
        raise
    except BaseException as error:
        raise NamingError("bad-tokenizer", f"tokenizer.json cannot be used: {str(error)[:200]}") from error


def looks_special(text: str) -> bool:
    """Whether an added token is a control token whatever its own flag says: some models forget the flag."""
    return (
        text in {"<pad>", "<mask>", "<2mass>", "[@BOS@]"}
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<\uff5c") and text.endswith("\uff5c>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )
