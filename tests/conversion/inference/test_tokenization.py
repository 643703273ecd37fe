"""Two containers of one tokenizer are compared on what it makes of a text, and differences are said in words."""

from contextlib import ExitStack

import pytest

from conversion.inference.engine import EngineError
from conversion.inference.strings import read_strings
from conversion.inference.text_sandbox import MAX_TEXT_BYTES, TextSandbox
from conversion.inference.tokenization import OURS, PARENTS, compare, compare_known, open_voices, round_trip
from tests.conversion.inference.ggufs import BASE
from tests.conversion.inference.vocabularies import swap, tokenizer_folder, vocabulary_gguf


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def voices(tmp_path, name, stack, change=lambda metadata: None):
    folder = tokenizer_folder(tmp_path / "model", name)
    (ours,) = open_voices(vocabulary_gguf(tmp_path / "a.gguf", folder, name, change), OURS, stack)
    return ours, open_voices(folder, PARENTS, stack)


def test_what_a_library_normalises_is_no_difference(tmp_path, stack):
    ours, (theirs,) = voices(tmp_path, "qwen2", stack)
    texts = ["e\u0301", "caf\u00e9 cafe\u0301", "plain"]
    assert ours.encode(texts)[0] != theirs.encode(texts)[0]
    assert theirs.normal_forms(texts) == ["\u00e9", "caf\u00e9 caf\u00e9", "plain"]
    assert compare(ours, theirs, [*texts, *read_strings()]).n_differing == 0


def test_a_first_space_that_llama_cpp_keeps_is_no_difference(tmp_path, stack):
    ours, (theirs,) = voices(tmp_path, "byte_fallback", stack)
    texts = ["    indented", " one"]
    assert ours.encode(texts) != theirs.encode(texts)
    assert compare(ours, theirs, texts).n_differing == 0


def test_a_difference_is_said_with_the_text_both_ids_and_both_pieces(tmp_path, stack):
    ours, (theirs,) = voices(tmp_path, "llama-bpe", stack, swap("tokenizer.ggml.tokens", 70, 71))
    found = compare(ours, theirs, ["!", "abcd efgh"])
    assert (found.n_texts, found.n_differing) == (2, 1)
    assert found.words == (
        "'abcd efgh' gives other ids here than in the parent's tokenizer.json: "
        "number 3 is 71 ('c') instead of 70 ('c')"
    )


def test_known_ids_are_compared_on_plain_texts_only(tmp_path, stack):
    ours, _ = voices(tmp_path, "llama-bpe", stack)
    (good,) = ours.encode(["Hello"])
    assert compare_known(ours, {"Hello": good, " odd ": [1]}, ["Hello", " odd ", "absent"]).n_texts == 1
    wrong = compare_known(ours, {"Hello": [*good[:-1], 0]}, ["Hello"])
    assert wrong.n_differing == 1
    assert wrong.words.startswith(f"'Hello' gives other ids here than in the parent: number {len(good)} is ")


def test_texts_survive_or_come_to_rest(tmp_path, stack):
    ours, (library,) = voices(tmp_path, "llama-bpe", stack)
    trip = round_trip(ours, read_strings())
    assert (trip.n_lossless, trip.unstable) == (trip.n_texts, [])
    assert round_trip(library, read_strings()).unstable == []


def test_pieces_come_back_as_bytes_whatever_llama_cpp_would_tidy(tmp_path, stack):
    ours, _ = voices(tmp_path, "llama-bpe", stack)
    assert ours.survivors(["a , b . c", "don 't", "\x00\ufffd😀"]) == ["a , b . c", "don 't", "\x00\ufffd😀"]


def test_a_parents_tokenizer_that_stops_answering_is_not_the_artifacts_fault(tmp_path, stack):
    ours, (theirs,) = voices(tmp_path, "llama-bpe", stack)
    theirs.sandbox.close()
    with pytest.raises(EngineError, match=r"the parent's tokenizer\.json does not answer") as caught:
        compare(ours, theirs, ["a"])
    assert caught.value.code == "parent-not-run"
    ours.sandbox.close()
    with pytest.raises(EngineError) as caught:
        ours.encode(["a"])
    assert caught.value.code == "engine-crashed"


def test_many_long_texts_take_more_than_one_message():
    with TextSandbox("tokenizer", BASE / "tokenizer.model") as model:
        texts = ["word " * 4000] * 5
        assert sum(map(len, texts)) * 6 > MAX_TEXT_BYTES
        found = model.encode(texts)
        assert len(found) == 5
        assert found[0] == found[4]
        assert model.describe().special == {"bos": 1, "eos": 2, "unk": 0}
        assert model.encode(["ab"], special=True)[0][0] == 1


def test_a_vocabulary_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EngineError) as caught:
        TextSandbox("llama.cpp vocabulary", tmp_path / "a.gguf")
    assert caught.value.code == "load-refused"
