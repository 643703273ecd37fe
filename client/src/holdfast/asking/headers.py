"""What a file of weights says of itself in its first bytes. Nothing of it is believed, run or unpickled.

Every count and length in a header is hostile: it is compared with what is left of the file, and with the limits below,
before anything is read or kept.

| format      | begins with                                         | told                                     |
|-------------|-----------------------------------------------------|------------------------------------------|
| GGUF        | `GGUF`, version (u32), n_tensors, n_keys (u64 each) | version, tensors, the keys in KEYS       |
| safetensors | length of the JSON (u64), then the JSON             | tensors, parameters, dtypes, metadata    |
| pickle      | `PK` with `/data.pkl`, or 0x80 and a protocol       | only that it is one                      |
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from holdfast.text import printable

MAX_JSON_BYTES = 8 << 20
MAX_KEYS = 100_000
MAX_KEY_BYTES = 1 << 16
MAX_TEXT_BYTES = 4096  # of a text that is told; longer ones are passed over
MAX_ITEMS = 10_000_000  # of one array of texts that is passed over
KEYS = ("architecture", "name", "size_label", "license", "file_type", "basename")
MODEL_KEYS = ("context_length", "block_count", "embedding_length")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


@dataclass(frozen=True)
class Header:
    """The format, and what the header tells; `trouble` is why not more."""

    format: str
    facts: dict[str, Any] = field(default_factory=dict)
    trouble: str | None = None


class _Wrong(Exception):
    """The header contradicts itself, its file or a limit."""


def read_header(path: Path) -> Header | None:
    """What the file says of itself; None for a format that we cannot tell. Raises OSError.

    Takes some ten times the length of a safetensors header in memory, and so at most some 100 MB.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        for name, looks_so, read in (
            ("gguf", start.startswith(b"GGUF"), _read_gguf),
            ("safetensors", start[8:9] == b"{", _read_safetensors),
        ):
            if looks_so:
                try:
                    return Header(name, read(file, size))
                except _Wrong as wrong:
                    return Header(name, trouble=str(wrong))
        if start.startswith(b"PK\x03\x04") and b"data.pkl" in file.read(4096):
            return Header("pytorch", trouble="a pickle, which could run code when loaded: not opened")
        if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
            return Header("pickle", trouble="could run code when loaded: not opened")
    return None


# --- safetensors ---------------------------------------------------------------------------------------------


def _read_safetensors(file: BinaryIO, size: int) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size - 8, MAX_JSON_BYTES):
        raise _Wrong(f"its header claims {length} bytes")
    try:
        found = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _Wrong("its header is no JSON") from error
    if not isinstance(found, dict):
        raise _Wrong("its header is no JSON object")
    metadata = found.pop("__metadata__", {})
    tensors = [one for one in found.values() if isinstance(one, dict) and isinstance(one.get("shape"), list)]
    dtypes = Counter(str(one.get("dtype"))[:10] for one in tensors)
    told: dict[str, Any] = {"tensors": len(tensors), "parameters": sum(map(_elements, tensors))}
    if isinstance(metadata, dict):
        kept = list(metadata.items())[:20]
        told["metadata"] = {printable(str(key)[:100]): printable(str(value)[:200]) for key, value in kept}
    return {**told, "dtypes": {printable(name): n for name, n in dtypes.most_common(10)}}


def _elements(tensor: dict[str, Any]) -> int:
    product = 1
    for extent in tensor["shape"][:16]:
        if type(extent) is not int or not 0 <= extent < 1 << 48:
            raise _Wrong("a tensor has an impossible shape")
        product *= extent
        if product >= 1 << 60:
            raise _Wrong("a tensor has an impossible shape")
    return product


# --- GGUF ----------------------------------------------------------------------------------------------------


def _read_gguf(file: BinaryIO, size: int) -> dict[str, Any]:
    cursor = _Cursor(file, size)
    cursor.take(4)
    version, n_tensors, n_keys = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in (2, 3):
        raise _Wrong(f"version {version} is not known (2 and 3 are)")
    if n_keys > MAX_KEYS or n_tensors > size // 24:
        raise _Wrong(f"it claims {n_keys} keys and {n_tensors} tensors")
    values: dict[str, Any] = {}
    for _number in range(n_keys):
        key = cursor.text(MAX_KEY_BYTES)
        value = cursor.value(cursor.number("I"), keep=key is not None and _is_wanted(key))
        if value is not None and key is not None:
            values[key] = value
    return {"version": version, "tensors": n_tensors, **_told(values)}


def _is_wanted(key: str) -> bool:
    return key.startswith("general.") or key.partition(".")[2] in MODEL_KEYS


def _told(values: dict[str, Any]) -> dict[str, Any]:
    told = {name: values[f"general.{name}"] for name in KEYS if f"general.{name}" in values}
    prefix = f"{told.get('architecture')}."
    return {**told, **{name: values[prefix + name] for name in MODEL_KEYS if prefix + name in values}}


class _Cursor:
    """A place in a file that only moves forward, and never past the end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def take(self, n_bytes: int) -> bytes:
        self._go(n_bytes)
        data = self._file.read(n_bytes)
        if len(data) != n_bytes:
            raise _Wrong("it ends within its header")
        return data

    def skip(self, n_bytes: int) -> None:
        self._go(n_bytes)
        self._file.seek(n_bytes, 1)

    def _go(self, n_bytes: int) -> None:
        if n_bytes > self._left:
            raise _Wrong("it ends within its header")
        self._left -= n_bytes

    def number(self, kind: str) -> Any:
        form = f"<{kind}"
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, most: int) -> str | None:
        """The text, or None if it is longer than `most` bytes."""
        length = self.number("Q")
        if length > most:
            self.skip(length)
            return None
        return printable(self.take(length).decode("utf-8", "replace"))

    def value(self, kind: int, *, keep: bool) -> Any:
        """A number or a short text; None for what is not kept. Arrays are passed over."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind]) if keep else self.skip(struct.calcsize(f"<{_SCALARS[kind]}"))
        if kind == _TEXT:
            return self.text(MAX_TEXT_BYTES if keep else 0)
        if kind != _ARRAY:
            raise _Wrong(f"it has a value of the unknown kind {kind}")
        return self._pass_array(self.number("I"), self.number("Q"))

    def _pass_array(self, kind: int, length: int) -> None:
        if kind in _SCALARS:
            return self.skip(length * struct.calcsize(f"<{_SCALARS[kind]}"))
        if kind != _TEXT or length > min(MAX_ITEMS, self._left // 8):
            raise _Wrong(f"it has an array of {length} values of kind {kind}")
        for _number in range(length):
            self.skip(self.number("Q"))
        return None
