"""llama2.c checkpoints of every version become what llama2.c's own export makes of them for Hugging Face."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from conversion.formats import gguf
from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.llama2c import Llama2cWeights, open_llama2c
from conversion.formats.llama2c.header import MAX_LAYERS
from conversion.formats.source import BytesSource, CountingSource, FileSource
from conversion.formats.weights import n_rows
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import plan_gguf
from conversion.naming.slabs import file_pieces

FIXTURES = Path(__file__).parents[3] / "fixtures/llama2c"
ANSWERS = json.loads((FIXTURES / "answers.json").read_text())
V0 = (FIXTURES / "untied-v0.bin").read_bytes()
V2 = (FIXTURES / "untied-v2.bin").read_bytes()
STORIES = ("stories260K.bin", "tok512.bin")


def opened(*names: str) -> Llama2cWeights:
    return open_llama2c({name: BytesSource((FIXTURES / name).read_bytes()) for name in names})


def digests(weights: Llama2cWeights) -> dict[str, str]:
    return {
        name: hashlib.sha256(weights.read_rows(name, 0, n_rows(entry))).hexdigest()
        for name, entry in weights.entries.items()
    }


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        ("tied-v0", "tied"),
        ("untied-v0", "untied"),
        ("tied-v1", "tied"),
        ("untied-v1", "untied"),
        ("untied-v2", "rounded"),
    ],
)
def test_tensors_are_those_of_the_reference_export(file: str, answer: str) -> None:
    weights = opened(f"{file}.bin")
    expected = dict(ANSWERS[answer])
    if answer == "tied":
        del expected["lm_head.weight"]  # the embedding, which the file holds once
    assert digests(weights) == expected
    assert json.loads(weights.side_files["config.json"])["tie_word_embeddings"] is (answer == "tied")


@pytest.mark.parametrize("file", ["untied-v0.bin", "untied-v2.bin"])
def test_rows_can_be_read_in_any_portions(file: str) -> None:
    weights = opened(file)
    for name, entry in weights.entries.items():
        whole = weights.rows(name, 0, n_rows(entry))
        out = np.empty_like(whole[:1])
        for row in range(n_rows(entry)):
            assert weights.rows(name, row, 1, out) is out
            assert (out == whole[row]).all()
        assert (weights.rows(name, 1, n_rows(entry) - 1) == whole[1:]).all() if n_rows(entry) > 1 else True


def test_one_row_of_q_reads_one_head_and_no_more() -> None:
    source = CountingSource(BytesSource(V0))
    weights = open_llama2c({"model.bin": source})
    before = source.bytes_read
    weights.rows("model.layers.0.self_attn.q_proj.weight", 5, 1)
    assert source.bytes_read - before == 4 * 16 * 4  # rows of a head x columns x bytes


def test_the_stories_model_becomes_the_gguf_that_others_made_of_it(tmp_path: Path) -> None:
    expected = json.loads((FIXTURES / "stories260K.json").read_text())
    weights = opened(*STORIES)
    for name, data in weights.side_files.items():
        (tmp_path / name).write_bytes(data)
    plan = plan_gguf(weights.entries, tmp_path, FILE_TYPES["F32"])
    path = tmp_path / "stories260K.gguf"
    path.write_bytes(b"".join(piece.data for piece in file_pieces(plan, weights)))
    with FileSource(path) as source:
        made = open_gguf({path.name: source})
        tensors = {
            name: hashlib.sha256(made.read_bytes(name, 0, entry.length)).hexdigest()
            for name, entry in made.entries.items()
        }
        header = gguf.read_header(source)
        for key, digest in expected["vocabulary"].items():
            value = header.metadata[key]
            assert hashlib.sha256(source.read(value.start, value.size_bytes)).hexdigest() == digest
    theirs = dict(expected["tensors"])
    assert theirs.pop("output.weight") == theirs["token_embd.weight"]  # they wrote the tied matrix twice
    assert tensors == theirs
    for key in ("llama.context_length", "llama.attention.head_count_kv", "llama.rope.dimension_count"):
        assert header.get(key) == expected["metadata"][key]


def test_the_tokenizer_is_one_that_sentencepiece_itself_reads() -> None:
    model = sentencepiece.SentencePieceProcessor(model_proto=opened(*STORIES).side_files["tokenizer.model"])
    assert model.encode("Once upon a time") == [403, 407, 261, 378]
    assert model.decode([403, 407, 261, 378]) == "Once upon a time"


def changed(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + struct.pack("<i", number) + data[at + 4 :]


REFUSED: dict[str, tuple[str, dict[str, bytes]]] = {
    "empty": ("l2c-truncated", {"m.bin": b""}),
    "a header alone": ("l2c-size", {"m.bin": V0[:28]}),
    "one byte short": ("l2c-size", {"m.bin": V0[:-1]}),
    "one byte long": ("l2c-size", {"m.bin": V0 + b"\0"}),
    "no layers": ("l2c-header", {"m.bin": changed(V0, 8, 0)}),
    "negative dim": ("l2c-header", {"m.bin": changed(V0, 0, -16)}),
    "2^31 - 1 of everything": ("l2c-header", {"m.bin": struct.pack("<7i", *[2**31 - 1] * 7)}),
    "more layers than allowed": ("l2c-header", {"m.bin": changed(V0, 8, MAX_LAYERS + 1)}),
    "a vocabulary of 2^31 - 1": ("l2c-size", {"m.bin": changed(V0, 20, 2**31 - 1)}),
    "heads that do not divide": ("l2c-header", {"m.bin": changed(V0, 12, 3)}),
    "heads of odd size": ("l2c-header", {"m.bin": changed(V0, 12, 16)}),
    "version 3": ("l2c-version", {"m.bin": changed(V2, 4, 3)}),
    "version 2 cut in its header": ("l2c-truncated", {"m.bin": V2[:200]}),
    "groups of 0": ("l2c-header", {"m.bin": changed(V2, 37, 0)}),
    "groups that do not divide": ("l2c-group", {"m.bin": changed(V2, 37, 7)}),
    "something after the group size": ("l2c-header", {"m.bin": changed(V2, 100, 1)}),
    "no checkpoint": ("ck-empty", {"tokenizer.bin": b"", "config.json": b""}),
    "two checkpoints": ("ck-ambiguous", {"a.bin": V0, "b.bin": V2}),
    "two tokenizers": ("ck-ambiguous", {"a.bin": V0, "tok1.bin": b"", "tok2.bin": b""}),
}
TOKENIZER = (FIXTURES / "tok512.bin").read_bytes()
BROKEN_TOKENIZERS = {
    "empty": b"",
    "cut": TOKENIZER[:-1],
    "too long": TOKENIZER + b"\0",
    "a negative length": changed(TOKENIZER, 8, -1),
    "a length beyond the file": changed(TOKENIZER, 8, 4000),
    "not UTF-8": TOKENIZER[:12] + b"\xff" + TOKENIZER[13:],
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_lies_is_refused(name: str) -> None:
    code, files = REFUSED[name]
    with pytest.raises(HeaderError) as refused:
        open_llama2c({path: BytesSource(data) for path, data in files.items()})
    assert refused.value.code == code


@pytest.mark.parametrize("name", BROKEN_TOKENIZERS)
def test_a_broken_tokenizer_is_refused(name: str) -> None:
    model = BytesSource((FIXTURES / "stories260K.bin").read_bytes())
    with pytest.raises(HeaderError) as refused:
        open_llama2c({"m.bin": model, "tokenizer.bin": BytesSource(BROKEN_TOKENIZERS[name])})
    assert refused.value.code == "l2c-tokenizer"
