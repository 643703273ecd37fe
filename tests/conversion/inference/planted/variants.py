"""What is planted: each variant is a sound file with one thing wrong, made anew from a fixed seed."""

import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conversion.formats.gguf.writer import string
from tests.conversion.inference.ggufs import BASE, header_of, patched, with_metadata, with_nan, with_zeros
from tests.conversion.inference.planted.family import SIDE_FILES, Family, rebuilt, split

DAMAGED = frozenset({"damaged"})
NOT_VERIFIED = frozenset({"damaged", "unsupported", "partial", "untested", "loads"})
UNLESS_RIGHT = NOT_VERIFIED | {"verified"}
"""Verified is right only where the logits are: the table asks the undamaged file."""

Plant = Callable[[Family, Path], Path]
"""Writes into an empty folder; returns what is to be judged."""


@dataclass(frozen=True)
class Variant:
    """One damaged artifact. `original` is the type of the sound file that it was made from.

    digest: the sha256 of the sound file is known, as it is of everything the service keeps.
    alone: no parent is given, so that nothing but the engine stands between the file and us.
    yardstick: our own requantisation of the parent is there to compare with, as it is for files of others.
    """

    group: str
    name: str
    what: str
    plant: Plant
    expected: frozenset[str] = DAMAGED
    original: str = "Q8_0"
    digest: bool = False
    alone: bool = False
    yardstick: bool = False

    @property
    def is_checkpoint(self) -> bool:
        return self.original == "safetensors"

    @property
    def no_engine_sees_it(self) -> bool:
        """Our own readers must refuse it."""
        return self.group.startswith("cut") or self.group == "absurd header"


def all_variants() -> list[Variant]:
    """All of them, in the order of the table; always the same."""
    makers = (cut_ggufs, flipped_headers, flipped_weights, cut_checkpoints, flipped_checkpoints, absurd_headers,
              absurd_metadata, wrong_models, wrong_texts)  # fmt: skip
    return [variant for make in makers for variant in make()]


# --- bytes -------------------------------------------------------------------------------------------------


def _edited(original: str, edit: Callable[[bytearray], object]) -> Plant:
    """The sound file of that type with other bytes; a checkpoint with its side files."""

    def plant(family: Family, folder: Path) -> Path:
        if original == "safetensors":
            for name in SIDE_FILES:
                shutil.copyfile(BASE / name, folder / name)
            source, path, result = BASE / "model.safetensors", folder / "model.safetensors", folder
        else:
            source = family.gguf(original)
            path = result = folder / source.name
        data = bytearray(source.read_bytes())
        edit(data)
        path.write_bytes(data)
        return result

    return plant


def _cut(length: Callable[[int], int]) -> Callable[[bytearray], object]:
    def cut(data: bytearray) -> None:
        del data[length(len(data)) :]

    return cut


def cut_ggufs() -> Iterator[Variant]:
    for n in (0, 3, 4, 8, 16, 23, 24, 25, 100, 1000, 5000, 20_000):
        yield Variant("cut GGUF", f"first {n} bytes", "the rest is missing",
                      _edited("Q8_0", _cut(lambda _, n=n: n)))  # fmt: skip
    for percent in (5, 10, 25, 50, 75, 90, 99):
        yield Variant("cut GGUF", f"first {percent} %", "the rest is missing",
                      _edited("Q4_0", _cut(lambda size, p=percent: size * p // 100)), original="Q4_0")  # fmt: skip
    for n in (1, 2, 31, 32, 4096):
        yield Variant("cut GGUF", f"without the last {n}", "the end is missing",
                      _edited("F16", _cut(lambda size, n=n: size - n)), original="F16")  # fmt: skip


def _flip(seed: int, region: str, n_bits: int = 1) -> Callable[[bytearray], object]:
    """`region`: header (of either format), weights, or burst: bits next to each other within the weights."""

    def flip(data: bytearray) -> None:
        rng = np.random.default_rng(seed)
        start, end = _regions(data)[0 if region == "header" else 1]
        if region == "burst":
            first = int(rng.integers(start, end - n_bits // 8))
            data[first : first + n_bits // 8] = rng.bytes(n_bits // 8)
            return
        for at in rng.integers(start, end, n_bits):
            data[at] ^= 1 << int(rng.integers(8))

    return flip


def _regions(data: bytearray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the header and where the weights lie."""
    if data[:4] == b"GGUF":
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(data)
            file.flush()
            end = header_of(Path(file.name)).data_start
    else:
        end = 8 + struct.unpack("<Q", data[:8])[0]
    return (0, end), (end, len(data))


def flipped_headers() -> Iterator[Variant]:
    for seed in range(36):
        original = ("Q8_0", "Q4_0")[seed % 2]
        n_bits = 1 if seed < 28 else 8
        yield Variant("GGUF header", f"{n_bits} bit{'s' * (n_bits > 1)} #{seed}", f"flipped, {original}",
                      _edited(original, _flip(seed, "header", n_bits)), UNLESS_RIGHT, original)  # fmt: skip


def flipped_weights() -> Iterator[Variant]:
    types = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K_M")
    for seed in range(42):
        original = types[seed % len(types)]
        region, n_bits = (("weights", 1), ("weights", 64), ("burst", 8 * 4096))[seed // len(types) % 3]
        what = "4 KiB of noise" if region == "burst" else f"{n_bits} bit{'s' * (n_bits > 1)} flipped"
        yield Variant("GGUF weights", f"{original} #{seed}", f"{what} in {original}",
                      _edited(original, _flip(seed, region, n_bits)), UNLESS_RIGHT, original,
                      digest=seed % 7 == 6)  # fmt: skip


def cut_checkpoints() -> Iterator[Variant]:
    for n in (0, 1, 7, 8, 9, 100, 2000, 4000):
        yield Variant("cut safetensors", f"first {n} bytes", "the rest is missing",
                      _edited("safetensors", _cut(lambda _, n=n: n)), original="safetensors")  # fmt: skip
    for n in (1, 4, 512, 4096, 2**20, 4 * 2**20):
        yield Variant("cut safetensors", f"without the last {n}", "the end is missing",
                      _edited("safetensors", _cut(lambda size, n=n: size - n)), original="safetensors")  # fmt: skip


def flipped_checkpoints() -> Iterator[Variant]:
    for seed in range(16):
        yield Variant("safetensors header", f"1 bit #{seed}", "flipped in the header",
                      _edited("safetensors", _flip(seed, "header")), UNLESS_RIGHT, "safetensors")  # fmt: skip
    for seed in range(20):
        region, n_bits = (("weights", 1), ("burst", 8 * 4096))[seed % 2]
        what = "4 KiB of noise" if region == "burst" else "1 bit flipped"
        known = seed % 4 < 2
        yield Variant("safetensors weights", f"#{seed}", what + (", digest known" if known else ""),
                      _edited("safetensors", _flip(seed, region, n_bits)), DAMAGED if known else UNLESS_RIGHT,
                      "safetensors", digest=known)  # fmt: skip


# --- headers that no program writes ------------------------------------------------------------------------


def absurd_headers() -> Iterator[Variant]:
    """Fields of the fixed part: magic, version, number of tensors, number of keys."""
    fields = {
        "another magic": (0, b"LGGU"),
        "big-endian magic": (0, b"FUGG"),
        "version 99": (4, struct.pack("<I", 99)),
        "2^60 tensors": (8, struct.pack("<Q", 2**60)),
        "no tensors": (8, struct.pack("<Q", 0)),
        "2^62 keys": (16, struct.pack("<Q", 2**62)),
        "one key less": (16, None),
        "a key of 2^63 bytes": (24, struct.pack("<Q", 2**63)),
        "an empty key": (24, struct.pack("<Q", 0)),
    }
    for name, (at, value) in fields.items():
        yield Variant("absurd header", name, "in the header", _edited("Q8_0", _overwrite(at, value)))


def _overwrite(at: int, value: bytes | None) -> Callable[[bytearray], object]:
    def overwrite(data: bytearray) -> None:
        new = value or struct.pack("<Q", struct.unpack_from("<Q", data, at)[0] - 1)
        data[at : at + len(new)] = new

    return overwrite


def absurd_metadata() -> Iterator[Variant]:
    whole = {
        "block_count": (0, 1, 2, 4, 513, 10**9), "context_length": (0, 1, 2**31, 2**32 - 1),
        "embedding_length": (0, 255, 2**31), "feed_forward_length": (0, 1), "attention.head_count": (0, 3, 2**31),
        "attention.head_count_kv": (0, 3, 10**6), "rope.dimension_count": (0, 1, 63, 10**6),
    }  # fmt: skip
    for key, values in whole.items():
        for value in values:
            yield Variant("absurd metadata", f"{key} {value}", "in the metadata",
                          _with_key(f"llama.{key}", value), NOT_VERIFIED, alone=True)  # fmt: skip
    for value in (float("nan"), 0.0, -1.0, 1e30):
        yield Variant("absurd metadata", f"rms_epsilon {value}", "in the metadata",
                      _with_float("llama.attention.layer_norm_rms_epsilon", value), UNLESS_RIGHT)  # fmt: skip
    for value in (10**9, 5):
        yield Variant("absurd metadata", f"bos token {value}", "in the metadata",
                      _with_key("tokenizer.ggml.bos_token_id", value))  # fmt: skip
    yield Variant("absurd metadata", "eos token 10^9", "in the metadata",
                  _with_key("tokenizer.ggml.eos_token_id", 10**9))  # fmt: skip


def _with_key(key: str, value: int) -> Plant:
    return lambda family, folder: with_metadata(family.gguf("Q8_0"), folder / "absurd.gguf", key, value)


def _with_float(key: str, value: float) -> Plant:
    def plant(family: Family, folder: Path) -> Path:
        original = family.gguf("Q8_0")
        at = header_of(original).metadata[key].start
        return patched(original, folder / "absurd.gguf", {at: struct.pack("<f", value)})

    return plant


# --- models that load and are wrong ------------------------------------------------------------------------


def wrong_models() -> Iterator[Variant]:
    def zeros(prefix: str) -> Plant:
        return lambda family, folder: with_zeros(family.gguf("Q8_0"), folder / "zeros.gguf", prefix)

    def variant(name: str, what: str, plant: Plant, original: str = "Q8_0") -> Variant:
        return Variant("wrong model", name, what, plant, DAMAGED, original)

    yield variant("zeroed layer", "every tensor of layer 1 is zero", zeros("blk.1."))
    yield variant("zeroed matrix", "one projection is zero", zeros("blk.2.ffn_down"))
    yield variant("zeroed embedding", "no token means anything", zeros("token_embd"))
    yield variant("zeroed output", "every token is as likely", zeros("output.weight"))
    yield variant("one NaN", "one scale of one block", lambda family, folder: with_nan(
        family.gguf("Q8_0"), folder / "nan.gguf", "blk.1.ffn_up.weight"))  # fmt: skip
    yield variant("one infinity", "one weight", _with_infinity, "F16")
    yield variant("permuted rows", "the rows of one matrix are upside down", _with_rows_reversed)
    yield variant("two rows exchanged", "in one matrix", _with_two_rows_exchanged)
    yield variant("exchanged matrices", "two layers have each other's weights", _with_layers_exchanged)
    yield variant("negated matrix", "every scale has the other sign", _with_signs_changed)
    yield variant("another parent", "a quant of a gentle fine-tune", lambda family, folder: _copy(
        family.gguf("Q8_0", "ft-gentle-bf16"), folder))  # fmt: skip
    yield variant("ternary of an ordinary model", "TQ2_0", lambda family, folder: _copy(
        family.gguf("TQ2_0"), folder), "TQ2_0")  # fmt: skip
    yield variant("swapped shards", "two parts have each other's names", _swapped_shards)
    yield variant("a missing shard", "the last part is not there", _missing_shard)
    yield Variant("wrong model", "a shard of another model", "one part is the fine-tune's", _foreign_shard,
                  yardstick=True)  # fmt: skip
    yield variant("a tensor renamed", "and so missing", lambda family, folder: rebuilt(
        family.gguf("Q8_0"), folder / "renamed.gguf",
        rename=lambda name: name.replace("blk.1.ffn_up", "blk.1.ffn_upp")))  # fmt: skip
    yield variant("swapped files of a checkpoint", "the weights of the fine-tune under the base's index",
                  _foreign_checkpoint, "safetensors")  # fmt: skip


def _copy(original: Path, folder: Path) -> Path:
    return Path(shutil.copyfile(original, folder / original.name))


def _with_infinity(family: Family, folder: Path) -> Path:
    original = family.gguf("F16")
    at = next(one.start for one in header_of(original).entries if one.name == "blk.0.attn_q.weight")
    return patched(original, folder / "infinity.gguf", {at + 1000: struct.pack("<H", 0x7C00)})


def _matrix(family: Family, name: str) -> tuple[int, np.ndarray]:
    """Where it begins, and its rows as bytes."""
    original = family.gguf("Q8_0")
    entry = next(one for one in header_of(original).entries if one.name == name)
    rows = np.frombuffer(original.read_bytes()[entry.start : entry.end], np.uint8)
    return entry.start, rows.reshape(entry.shape[0], -1).copy()


def _with_rows_reversed(family: Family, folder: Path) -> Path:
    start, rows = _matrix(family, "blk.0.ffn_up.weight")
    return patched(family.gguf("Q8_0"), folder / "rows.gguf", {start: rows[::-1].tobytes()})


def _with_two_rows_exchanged(family: Family, folder: Path) -> Path:
    start, rows = _matrix(family, "blk.0.attn_q.weight")
    rows[[3, 200]] = rows[[200, 3]]
    return patched(family.gguf("Q8_0"), folder / "two-rows.gguf", {start: rows.tobytes()})


def _with_layers_exchanged(family: Family, folder: Path) -> Path:
    (a, first), (b, second) = (_matrix(family, f"blk.{layer}.ffn_gate.weight") for layer in (0, 1))
    return patched(family.gguf("Q8_0"), folder / "layers.gguf", {a: second.tobytes(), b: first.tobytes()})


def _with_signs_changed(family: Family, folder: Path) -> Path:
    start, rows = _matrix(family, "blk.1.attn_output.weight")
    rows.reshape(-1, 34)[:, 1] ^= 0x80  # the sign of each block's scale
    return patched(family.gguf("Q8_0"), folder / "signs.gguf", {start: rows.tobytes()})


def _swapped_shards(family: Family, folder: Path) -> Path:
    first, second, third = split(family.gguf("Q8_0"), folder, 12)
    second.rename(folder / "kept")
    third.rename(second)
    (folder / "kept").rename(third)
    return first


def _missing_shard(family: Family, folder: Path) -> Path:
    first, *_, last = split(family.gguf("Q8_0"), folder, 12)
    last.unlink()
    return first


def _foreign_shard(family: Family, folder: Path) -> Path:
    first, second, _ = split(family.gguf("Q8_0"), folder, 12)
    foreign = split(family.gguf("Q8_0", "ft-gentle-bf16"), folder / "other", 12)
    second.write_bytes(foreign[1].read_bytes())
    shutil.rmtree(folder / "other")
    return first


def _foreign_checkpoint(family: Family, folder: Path) -> Path:
    for name in SIDE_FILES:
        shutil.copyfile(BASE / name, folder / name)
    shutil.copyfile(BASE.parent / "ft-gentle-bf16/model.safetensors", folder / "model.safetensors")
    return folder


# --- tokenizers and templates ------------------------------------------------------------------------------


def wrong_texts() -> Iterator[Variant]:
    def variant(name: str, what: str, plant: Plant, expected: frozenset[str] = DAMAGED) -> Variant:
        return Variant("wrong text", name, what, plant, expected)

    yield variant("two tokens exchanged", "▁the and ▁and have each other's ids", _with_pieces_exchanged)
    yield variant(
        "another model's tokenizer", "the vocabulary is turned upside down", _with_vocabulary_reversed
    )
    yield variant("scores lost", "all pieces are equally likely", _with_scores_lost)
    for name, template in TEMPLATES.items():
        yield variant(f"chat template {name}", "in the metadata", _with_template(template))


TEMPLATES = {
    "that never ends": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "that fills memory": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "that escapes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "that runs a command": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "that is broken": "{% for message in messages %}{{ message['content'] ",
}


def _with_pieces_exchanged(family: Family, folder: Path) -> Path:
    the, and_, free = "▁the".encode(), "▁and".encode(), b"@" * 6
    data = family.gguf("Q8_0").read_bytes().replace(the, free, 1).replace(and_, the, 1).replace(free, and_, 1)
    path = folder / "pieces.gguf"
    path.write_bytes(data)
    return path


def _with_vocabulary_reversed(family: Family, folder: Path) -> Path:
    def reverse(data: bytearray) -> None:
        header = header_of(family.gguf("Q8_0")).metadata["tokenizer.ggml.tokens"]
        at, pieces = header.start + 12, []
        for _ in range(header.length):
            (length,) = struct.unpack_from("<Q", data, at)
            pieces.append(bytes(data[at : at + 8 + length]))
            at += 8 + length
        data[header.start + 12 : at] = b"".join(pieces[:259] + pieces[:258:-1])

    return _edited("Q8_0", reverse)(family, folder)


def _with_scores_lost(family: Family, folder: Path) -> Path:
    scores = header_of(family.gguf("Q8_0")).metadata["tokenizer.ggml.scores"]
    return patched(family.gguf("Q8_0"), folder / "scores.gguf", {scores.start + 12: bytes(4 * scores.length)})


def _with_template(template: str) -> Plant:
    return lambda family, folder: rebuilt(
        family.gguf("Q8_0"), folder / "template.gguf",
        metadata=lambda found: {**found, "tokenizer.chat_template": string(template)},
    )  # fmt: skip
