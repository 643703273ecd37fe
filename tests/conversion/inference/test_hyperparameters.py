"""Numbers of a header that no figure shows are held against the parent's."""

import struct

from conversion.formats.gguf.writer import float32, string, uint32
from conversion.inference.hyperparameters import NO_TOKEN, misfits
from tests.conversion.inference.ggufs import header_of, patched, with_metadata

PARENT = {
    "general.architecture": string("llama"), "llama.attention.head_count": uint32(4),
    "llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.context_length": uint32(512),
    "llama.no_converter_of_old_wrote_this": uint32(7),
}  # fmt: skip


def codes(path, parent=None):
    return [code for _, code in misfits(header_of(path), parent)]


def test_a_sound_header_fits_its_parents_and_stands_alone(converted):
    assert codes(converted("Q8_0"), PARENT) == codes(converted("Q8_0")) == []


def test_an_epsilon_that_is_not_the_parents_is_named_with_both_numbers(converted, tmp_path):
    original = converted("Q8_0")
    at = header_of(original).metadata["llama.attention.layer_norm_rms_epsilon"].start
    path = patched(original, tmp_path / "other.gguf", {at: struct.pack("<f", 1e-6)})
    ((words, code),) = misfits(header_of(path), PARENT)
    assert code == "hyperparameter-differs"
    assert words.endswith("but its parent says 1e-05")
    assert codes(path) == []


def test_a_longer_context_is_no_other_network(converted, tmp_path):
    path = with_metadata(converted("Q8_0"), tmp_path / "long.gguf", "llama.context_length", 4096)
    assert codes(path, PARENT) == []


def test_a_special_token_must_exist_unless_it_says_that_it_does_not(converted, tmp_path):
    for token, expected in ((1024, ["token-id-outside"]), (1023, []), (NO_TOKEN, [])):
        path = with_metadata(converted("Q8_0"), tmp_path / "token.gguf", "tokenizer.ggml.eos_token_id", token)
        assert codes(path) == expected
