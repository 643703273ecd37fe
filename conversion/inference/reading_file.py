"""A reading as one safetensors file, and back again without trusting a byte of it.

| tensor | dtype | shape |
|---|---|---|
| ids | I32 | (tokens of all windows) |
| lengths | I32 | (windows) |
| log_sum, right | F64 | (positions) |
| rows | F32 | (positions, n_vocab), or instead of it: |
| top_ids, top_logits, masses | I32, F32, F32 | (positions, 256) |

Everything else is JSON in the header's `__metadata__` under `reading`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from conversion.formats.errors import HeaderError
from conversion.formats.safetensors import plan_file, read_header
from conversion.formats.source import BytesSource
from conversion.inference.engine import EngineReport, Facts
from conversion.inference.greedy import Continuation
from conversion.inference.readings import (
    MAX_FULL_VOCABULARY,
    N_CLASSES,
    N_TOP,
    VERSION,
    Folded,
    InFull,
    Reading,
    Said,
)
from conversion.inference.windows import MAX_POSITIONS, WINDOW_TOKENS, Window

MAX_READING_BYTES = 2**27
MAX_JSON_CHARACTERS = 2**24
MAX_VOCABULARY = 2**21
"""Whatever an engine's piece of logits can hold one row of."""

NUMPY = {"I32": "<i4", "F32": "<f4", "F64": "<f8"}
Arrays = Mapping[str, NDArray[Any]]


def write_reading(reading: Reading) -> bytes:
    """The file; the same reading always gives the same bytes."""
    arrays: dict[str, NDArray[Any]] = {
        "ids": np.array([token for window in reading.windows for token in window.ids], "<i4"),
        "lengths": np.array([len(window.ids) for window in reading.windows], "<i4"),
        **vars(reading.said),
    }
    facts = {
        "version": VERSION, "key": reading.key, "facts": asdict(reading.facts),
        "engine": reading.engine.as_json(), "texts": reading.texts,
        "text_of": [window.text for window in reading.windows],
        "samples": [asdict(sample) for sample in reading.samples], "strings": reading.strings,
    }  # fmt: skip
    dtypes = {np.dtype(spelled): name for name, spelled in NUMPY.items()}
    layout = plan_file(
        [(name, array.shape, dtypes[array.dtype]) for name, array in arrays.items()],
        {"format": "holdfast-reading", "reading": json.dumps(facts, sort_keys=True)},
    )
    return layout.header_bytes + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())


def read_reading(data: bytes) -> Reading:
    """The reading in that file. Raises HeaderError: the container's own codes, and `reading-…`."""
    if len(data) > MAX_READING_BYTES:
        _refuse("large", f"{len(data)} bytes; a reading has at most {MAX_READING_BYTES}")
    header = read_header(BytesSource(data))
    arrays = {}
    for entry in header.entries:
        if entry.dtype not in NUMPY:
            _refuse("tensor", f"{entry.name[:60]!r} is {entry.dtype}")
        flat = np.frombuffer(data, NUMPY[entry.dtype], entry.n_elements, entry.start)
        arrays[entry.name] = flat.reshape(entry.shape)
    try:
        return _build(_facts(header.metadata), arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise HeaderError(
            "reading-facts", f"what it says of itself is not what we write: {error!r:.200}"
        ) from error


def _refuse(code: str, message: str) -> NoReturn:
    raise HeaderError(f"reading-{code}", message)


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get("reading", "")
    if metadata.get("format") != "holdfast-reading" or not text or len(text) > MAX_JSON_CHARACTERS:
        _refuse("format", "this safetensors file is not a reading")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HeaderError("reading-facts", "what it says of itself is not JSON") from error
    names = {"version", "key", "facts", "engine", "texts", "text_of", "samples", "strings"}
    if not isinstance(found, dict) or found.keys() != names:
        _refuse("facts", "what it says of itself is not what we write")
    if found["version"] != VERSION:
        _refuse(
            "version",
            f"version {found['version']!r:.20}; this program reads {VERSION}. Make the reading anew.",
        )
    return found


def _build(said_of: dict[str, Any], arrays: Arrays) -> Reading:
    facts = Facts(**said_of["facts"])
    if not (_is_count(facts.n_vocab, MAX_VOCABULARY) and _is_count(facts.n_context, 2**31)):
        _refuse("facts", f"a vocabulary of {facts.n_vocab!r:.20} tokens")
    if facts.bos_id is not None:
        _ids([facts.bos_id], facts.n_vocab)
    windows = _windows(arrays["ids"], arrays["lengths"], said_of["text_of"], facts.n_vocab)
    said = _said(arrays, sum(window.n_scored for window in windows), facts.n_vocab)
    engine = said_of["engine"]
    engine = EngineReport(**engine | {"cpu_features": tuple(map(_text, engine["cpu_features"]))})
    return Reading(
        _text(said_of["key"]), facts, engine, _texts(said_of["texts"]), windows, said,
        tuple(_sample(one, facts.n_vocab) for one in said_of["samples"]),
        {_text(text): _ids(ids, facts.n_vocab) for text, ids in said_of["strings"].items()},
    )  # fmt: skip


def _windows(
    ids: NDArray[Any], lengths: NDArray[Any], text_of: list[str], n_vocab: int
) -> tuple[Window, ...]:
    if lengths.ndim != 1 or ids.ndim != 1 or ids.dtype.kind != "i" or lengths.dtype.kind != "i":
        _refuse("windows", "ids and lengths must be lists of whole numbers")
    fits = len(lengths) and lengths.min() > 2 and lengths.max() <= WINDOW_TOKENS
    if not fits or int(lengths.sum()) != len(ids) or len(text_of) != len(lengths):
        _refuse("windows", f"{len(lengths)} windows do not make up {len(ids)} tokens")
    if ids.min() < 0 or ids.max() >= n_vocab:
        _refuse("windows", f"a token id is outside the vocabulary of {n_vocab}")
    ends = np.cumsum(lengths)
    return tuple(
        Window(tuple(map(int, ids[end - length : end])), _text(text))
        for end, length, text in zip(ends, lengths, text_of, strict=True)
    )


def _said(arrays: Arrays, n: int, n_vocab: int) -> Said:
    if n > MAX_POSITIONS:
        _refuse("windows", f"{n} positions; at most {MAX_POSITIONS} are scored")
    is_full = n_vocab <= MAX_FULL_VOCABULARY
    wanted = {"log_sum": ("f8", (n,)), "right": ("f8", (n,))} | (
        {"rows": ("f4", (n, n_vocab))}
        if is_full
        else {
            "top_ids": ("i4", (n, N_TOP)),
            "top_logits": ("f4", (n, N_TOP)),
            "masses": ("f4", (n, N_CLASSES)),
        }
    )
    if arrays.keys() != {"ids", "lengths", *wanted}:
        _refuse("tensor", f"its tensors are {', '.join(sorted(arrays))[:200]}")
    for name, (dtype, shape) in wanted.items():
        if (arrays[name].dtype, arrays[name].shape) != (np.dtype("<" + dtype), shape):
            _refuse("tensor", f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}")
        if not np.isfinite(arrays[name]).all():
            _refuse("numbers", f"{name} holds NaN or infinity")
    kind = InFull if is_full else Folded
    said: Said = kind(**{name: arrays[name] for name in wanted})
    _check_probabilities(said, n_vocab)
    return said


def _check_probabilities(said: Said, n_vocab: int) -> None:
    """They are probabilities: tokens are different and in order, and everything together is 1."""
    logits = said.top_logits if isinstance(said, Folded) else said.rows
    with np.errstate(over="ignore"):
        total = np.exp(logits.astype(np.float64) - said.log_sum[:, None]).sum(axis=1)
    if isinstance(said, Folded):
        in_order = np.sort(said.top_ids, axis=1)
        if (
            in_order[:, 0].min() < 0
            or in_order[:, -1].max() >= n_vocab
            or (np.diff(in_order, axis=1) <= 0).any()
        ):
            _refuse("numbers", "the ids of the likeliest tokens are not different tokens of the vocabulary")
        if (np.diff(logits, axis=1) > 0).any() or said.masses.min() < 0:
            _refuse("numbers", "the likeliest tokens are not in order, or a probability is below 0")
        total = total + said.masses.sum(axis=1, dtype=np.float64)
    if np.abs(total - 1).max() > 1e-4 or said.right.max() > 1e-9:
        _refuse("numbers", "its probabilities do not add up to 1")


def _sample(one: dict[str, Any], n_vocab: int) -> Continuation:
    margins = tuple(float(margin) for margin in one["margins"])
    tokens = _ids(one["tokens"], n_vocab)
    if len(margins) != len(tokens) or not np.isfinite(margins).all():
        _refuse("facts", "a sample has not one margin for each token")
    return Continuation(
        _text(one["prompt"]), tuple(_ids(one["ids"], n_vocab)), tuple(tokens), margins, _text(one["text"])
    )


def _texts(found: dict[str, str]) -> dict[str, str]:
    return {_text(name): _text(digest) for name, digest in found.items()}


def _ids(found: Any, n_vocab: int) -> list[int]:
    if not isinstance(found, list) or not all(type(token) is int and 0 <= token < n_vocab for token in found):
        _refuse("facts", f"token ids are not those of a vocabulary of {n_vocab}")
    return list(found)


def _text(found: Any) -> str:
    if not isinstance(found, str):
        _refuse("facts", f"expected text, found {found!r:.40}")
    return str(found)


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 0 < value <= most
