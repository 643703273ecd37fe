"""Mutated files for a fixed time: `python -m tests.conversion.formats.fuzzing SECONDS FIRST_SEED [READER …]`.

The process may not grow by more than `MAX_GROWTH_BYTES` (the operating system sees to it), and whatever a reader raises
beside HeaderError ends the run with the seed; `mutated(KINDS[name], random.Random(seed))` makes the same file again.
Prints a JSON object: files tried by reader. Every tensor of a file that is accepted is read, too.
"""

import io
import json
import pickletools
import random
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from conversion.formats import gguf
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.llama2c import open_llama2c
from conversion.formats.onnx import open_onnx
from conversion.formats.opening import open_weights
from conversion.formats.pytorch import open_pytorch
from conversion.formats.source import BytesSource
from conversion.formats.weights import n_rows
from tests.conversion.formats.gguf.test_reader import SMALL as SMALL_GGUF
from tests.conversion.formats.gguf.test_splitting import PARTS
from tests.conversion.formats.onnx.samples import ONNX
from tests.conversion.formats.test_checkpoint import INDEX, SHARDED
from tests.conversion.formats.test_safetensors import SMALL as SMALL_SAFETENSORS
from tests.fixtures.heads import FOLDER as HEADS
from tests.fixtures.hostile.torch_raw import LEGACY_HEAD, PROTOCOL, torch_zip

FIXTURES = Path(__file__).parents[2] / "fixtures"
PICKLES, LLAMA2C = FIXTURES / "pickles", FIXTURES / "llama2c"
MAX_GROWTH_BYTES = 512 * 1024 * 1024
MAX_SECONDS_EACH = 10
NUMBERS = [
    0,
    1,
    7,
    31,
    32,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**60,
    2**61,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
JSON_WORDS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"\\ud800",
    b"-0",
    b"1e5",
    b"null",
    b"__metadata__",
]
OPCODES = [
    b"(", b")", b"]", b"}", b"t", b"R", b"b", b"s", b"u", b"a", b"e", b"0", b"1", b".", b"N", b"Q", b"\x85", b"\x86",
    b"\x87", b"\x88", b"\x93", b"\x94", b"q\x00", b"h\x00", b"h\x05", b"K\x00", b"M\xff\xff", b"J\xff\xff\xff\x7f",
    b"\x8a\x09" + bytes(8) + b"\x01", b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"ctorch\nfloat64\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"cposix\nsystem\n", b"ctorch\nDoubleStorage\n", b"X\x01\x00\x00\x00a",
]  # fmt: skip
ZIP_WORDS = [
    b"PK\1\2",
    b"PK\3\4",
    b"PK\5\6",
    b"PK\6\6",
    b"PK\6\7",
    b"PK\7\x08",
    b"data.pkl",
    b"\xff\xff\xff\xff",
    b"/",
]


@dataclass(frozen=True)
class Kind:
    """What is fuzzed: files to start from, words that mean something in them, and what reads a mutated one."""

    starts: tuple[bytes, ...]
    words: tuple[bytes, ...]
    read: Callable[[bytes], object]
    bias: float = 2.0
    """How strongly edits tend to the front, where headers are; negative: to the end."""

    split: Callable[[bytes], tuple[bytes, ...]] | None = None
    """Cuts a file into pieces that mean something, which half of the edits then leave whole."""

    keeps_length: bool = False
    """Whether half of the files only have bytes overwritten: offsets counted from the end stay right."""


def _all_read(weights: Any) -> None:
    """Every tensor is read through, and has the length that its entry says."""
    for name, entry in weights.entries.items():
        assert len(weights.read_rows(name, 0, n_rows(entry))) == entry.length, name


def _opened(opening: Callable[[Mapping[str, BytesSource]], Any], path: str) -> Callable[[bytes], object]:
    return lambda data: _all_read(opening({path: BytesSource(data)}))


def _read_gguf(data: bytes) -> None:
    weights = open_gguf({"m.gguf": BytesSource(data)})
    again = gguf.plan_file(weights.read_metadata(), [], alignment=weights.alignment)
    assert again.header_bytes.startswith(b"GGUF")


def _read_onnx(data: bytes) -> None:
    sources = {"m.onnx": BytesSource(data), "w.bin": BytesSource(bytes(64))}
    _all_read(open_onnx("m.onnx", sources))


def _beside(files: Mapping[str, bytes], path: str, opening: Callable[..., Any]) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        _all_read(opening({name: BytesSource(held) for name, held in {**files, path: data}.items()}))

    return read


def _torch_parts(name: str) -> tuple[bytes, dict[str, bytes]]:
    """The pickle and the storages of a file of torch.save."""
    with zipfile.ZipFile(io.BytesIO((PICKLES / name).read_bytes())) as opened:
        members = {path.partition("/")[2]: opened.read(path) for path in opened.namelist()}
    held = {path.removeprefix("data/"): data for path, data in members.items() if path.startswith("data/")}
    return members["data.pkl"], held


@cache
def _opcodes_of(pickle: bytes) -> tuple[bytes, ...]:
    """A pickle, cut between its opcodes."""
    starts = [position or 0 for _, _, position in pickletools.genops(pickle)]
    return tuple(pickle[start:end] for start, end in pairwise([*starts, len(pickle)]))


_PARTS = [_torch_parts(name) for name in ("kinds.pt", "kinds-protocol-4.pt", "trainer.pt", "nested.pt")]
_STORAGES = {key: data for _, held in reversed(_PARTS) for key, data in held.items()}
_SECOND_PART = list(PARTS)[1]

KINDS: dict[str, Kind] = {
    "safetensors": Kind(
        (SMALL_SAFETENSORS, (HEADS / "base-f32.safetensors").read_bytes()),
        tuple(JSON_WORDS),
        _opened(open_checkpoint, "model.safetensors"),
    ),
    "index": Kind((SHARDED[INDEX],), (*JSON_WORDS, b"weight_map", b"../"), _beside(SHARDED, INDEX, open_checkpoint), 1),
    "gguf": Kind((SMALL_GGUF, (HEADS / "base-Q8_0.gguf").read_bytes() + bytes(100_000)), (b"GGUF",), _read_gguf),
    "gguf split": Kind((PARTS[_SECOND_PART],), (b"split.no",), _beside(PARTS, _SECOND_PART, open_gguf)),
    "pickle": Kind(
        tuple(pickle for pickle, _ in _PARTS),
        tuple(OPCODES),
        lambda data: _all_read(open_pytorch({"m.pt": BytesSource(torch_zip(data, _STORAGES))})),
        1,
        _opcodes_of,
    ),
    "zip": Kind(
        tuple((PICKLES / name).read_bytes() for name in ("kinds.pt", "trainer.pt", "script.pt")),
        tuple(ZIP_WORDS),
        _opened(open_pytorch, "m.pt"),
        -2,
        keeps_length=True,
    ),
    "legacy pickle": Kind(
        ((PICKLES / "kinds-legacy.pt").read_bytes(),),
        (*OPCODES, LEGACY_HEAD, PROTOCOL),
        _opened(open_pytorch, "m.pt"),
        1,
    ),
    "onnx": Kind(ONNX, (b"w.bin", b"../", b"\xff" * 10), _read_onnx, 0),
    "llama2.c": Kind(
        tuple((LLAMA2C / f"{name}.bin").read_bytes() for name in ("tied-v0", "untied-v1", "untied-v2")),
        (),
        _opened(open_llama2c, "m.bin"),
        6,
        keeps_length=True,
    ),
    "tokenizer of llama2.c": Kind(
        ((LLAMA2C / "tok512.bin").read_bytes(),),
        (),
        _beside({"m.bin": (LLAMA2C / "stories260K.bin").read_bytes()}, "tok.bin", open_llama2c),
    ),
    "any": Kind(
        (SMALL_SAFETENSORS, SMALL_GGUF, *((PICKLES / name).read_bytes() for name in ("nested.pt", "kinds-legacy.pt"))),
        (b"GGUF", b"PK\3\4", LEGACY_HEAD, b'{"'),
        _opened(open_weights, "model.bin"),
    ),
}  # fmt: skip


def mutated(kind: Kind, rng: random.Random) -> bytes:
    """One of the starting files with one to four spans overwritten, inserted, removed or doubled."""
    start = rng.choice(kind.starts)
    if kind.split is not None and rng.random() < 0.5:
        return _rearranged(list(kind.split(start)), kind.words, rng)
    data, overwrites = bytearray(start), kind.keeps_length and rng.random() < 0.5
    for _ in range(rng.randint(1, 4)):
        at = int(len(data) * rng.random() ** abs(kind.bias))
        at = len(data) - at if kind.bias < 0 else at
        span = rng.randint(0, 16)
        words = kind.words or (b"\0",)
        piece = rng.choice(
            [struct.pack("<Q", rng.choice(NUMBERS)), struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF),
             rng.choice(words), rng.choice(words), rng.randbytes(span), bytes(data[at : at + span])]
        )  # fmt: skip
        data[at : at + (len(piece) if overwrites else rng.choice([0, len(piece), span]))] = piece
    return bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.1 else data)


def _rearranged(pieces: list[bytes], words: tuple[bytes, ...], rng: random.Random) -> bytes:
    """One to four of the pieces taken out, doubled, moved, or replaced by a word or by each other."""
    for _ in range(rng.randint(1, 4)):
        at, other = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        match rng.randrange(5):
            case 0:
                del pieces[at : at + rng.randint(1, 3)]
            case 1:
                pieces[at:at] = pieces[other : other + rng.randint(1, 8)]
            case 2:
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 3:
                pieces[at] = rng.choice(words)
            case 4:
                pieces[at] = pieces[other]
        pieces = pieces or [b""]
    return b"".join(pieces)


def outcome(kind: Kind, data: bytes) -> str:
    """What the reader says of a file: a refusal, or nothing; whatever else it raises passes through."""
    try:
        kind.read(data)
    except HeaderError as refused:
        return f"{refused.code} {refused}"
    return ""


def fuzz(name: str, seconds: float, first_seed: int) -> int:
    """Files tried within `seconds`; each seed is one file."""
    kind, seed, deadline = KINDS[name], first_seed, time.monotonic() + seconds
    while time.monotonic() < deadline:
        data, started = mutated(kind, random.Random(seed)), time.thread_time()
        try:
            said = outcome(kind, data)
        except Exception as error:
            raise AssertionError(f"{name} seed {seed}: {error!r}") from error
        assert said.isprintable(), f"{name} seed {seed}: {said!a}"
        assert time.thread_time() - started < MAX_SECONDS_EACH, f"{name} seed {seed}: too slow"
        seed += 1
    return seed - first_seed


def limit_memory() -> None:
    """From here on an allocation that takes the process `MAX_GROWTH_BYTES` beyond what it has now is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MAX_GROWTH_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(arguments: Iterable[str]) -> None:
    seconds, first_seed, *names = arguments
    names = names or list(KINDS)
    for name in names:  # what is loaded late is loaded before memory is limited
        fuzz(name, 0.01, int(first_seed))
    limit_memory()
    counts = {name: fuzz(name, float(seconds) / len(names), int(first_seed)) for name in names}
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
