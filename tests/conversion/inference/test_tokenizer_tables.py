import pytest

from conversion.inference.tokenizer_tables import compare_tables, is_same_tokenizer, read_tables
from tests.conversion.inference.vocabularies import put, swap, tokenizer_folder, vocabulary_gguf

PARENT = {
    "tokens": ["<s>", "a", "b", "[PAD3]"],
    "token_type": [3, 1, 1, 5],
    "scores": [0.0, -1.0, -2.0, -3.0],
    "merges": ["a b"],
    "model": "llama",
    "pre": "default",
}


@pytest.mark.parametrize(("change", "breaks_text", "words"), [
    ({"tokens": ["<s>", "a", "c", "[PAD3]"]}, True, "piece 2 is 'c' instead of 'b'"),
    ({"tokens": ["<s>", "b", "a", "[PAD3]"]}, True, "piece 1 is 'b' instead of 'a', and 1 more"),
    ({"tokens": ["<s>", "a", "b"]}, True, "3 pieces instead of 4"),
    ({"tokens": ["<s>", "a", "b", "<spare>"]}, False, "piece 3 is '<spare>' instead of '[PAD3]'"),
    ({"merges": ["b a"]}, True, "merge 0 is 'b a' instead of 'a b'"),
    ({"merges": None}, True, "0 merges instead of 1"),
    ({"scores": [0.0, -1.0, -2.5, -3.0]}, False, "score 2 is -2.5 instead of -2.0"),
    ({"token_type": [3, 1, 4, 5]}, False, "type 2 is 4 instead of 1"),
    ({"pre": "gpt-2"}, False, "tokenizer.ggml.pre is 'gpt-2' instead of 'default'"),
])  # fmt: skip
def test_a_table_that_differs_is_named_with_its_first_entry(change, breaks_text, words):
    (found,) = compare_tables(PARENT | change, PARENT)
    assert (found.breaks_text, found.words) == (breaks_text, words)


def test_what_a_converter_leaves_unsaid_is_no_difference():
    silent = {key: value for key, value in PARENT.items() if key != "pre"}
    assert (
        compare_tables(silent, PARENT)
        == compare_tables(PARENT, silent)
        == compare_tables(PARENT, PARENT)
        == []
    )


def test_what_changes_text_comes_first():
    found = compare_tables(PARENT | {"pre": "x", "scores": [0.0] * 4, "merges": ["b b"]}, PARENT)
    assert [one.key for one in found] == ["merges", "scores", "pre"]


def test_two_files_have_the_same_tokenizer_if_every_byte_of_it_is(tmp_path):
    folder = tokenizer_folder(tmp_path / "model", "llama-bpe")
    changes = {
        "itself": lambda metadata: None,
        "another template": put("tokenizer.chat_template", "x"),
        "two pieces": swap("tokenizer.ggml.tokens", 300, 301),
        "eos": put("tokenizer.ggml.eos_token_id", 1),
        "another key": put("tokenizer.ggml.add_space_prefix", False),
        "architecture": put("general.architecture", "qwen2"),
    }
    paths = {
        name: vocabulary_gguf(tmp_path / f"{name}.gguf", folder, "llama-bpe", change, rows=rows)
        for rows, (name, change) in enumerate(changes.items(), 1)
    }
    same = [name for name, path in paths.items() if is_same_tokenizer(path, paths["itself"])]
    assert same == ["itself", "another template"]


def test_the_tables_of_a_file_are_read_whole(tmp_path):
    folder = tokenizer_folder(tmp_path / "model", "llama-bpe")
    tables = read_tables(vocabulary_gguf(tmp_path / "a.gguf", folder, "llama-bpe"))
    assert len(tables["tokens"]) == len(tables["token_type"]) == 352
    assert (tables["model"], tables["pre"], tables["merges"][0]) == ("gpt2", "llama-bpe", "Ġ t")
