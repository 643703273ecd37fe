"""Special tokens: read as llama.cpp's own gguf package reads them, from files of every shape we have seen."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from conversion.naming import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.vocabulary.special import (
    LOWERCASE,
    STRIP_ACCENTS,
    describe_special,
    read_special,
    set_special,
)

CASES = json.loads((Path(__file__).parents[3] / "fixtures/special/cases.json").read_text())
KEYS = {"lowercase": LOWERCASE, "strip_accents": STRIP_ACCENTS}


def written(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def metadata(folder: Path) -> dict[str, Any]:
    writer = new_collector("llama")
    describe_special(folder, writer, merges=True)
    return {key: value.value for key, value in collected(writer).items()}


@pytest.mark.parametrize("name", CASES)
def test_files_are_read_as_the_reference_reads_them(tmp_path: Path, name: str) -> None:
    expected = CASES[name]["read"]
    found = read_special(written(tmp_path, CASES[name]["files"]), merges=True, n_vocab=6)
    assert found.merges == expected["merges"]
    assert list(found.ids.items()) == list(expected["ids"].items())
    assert list(found.adds.items()) == list(expected["adds"].items())
    assert found.template == expected["template"]
    assert found.normalizer == {KEYS[key]: value for key, value in expected["normalizer"].items()}


def test_templates_are_written_by_name_and_their_list_is_sorted(tmp_path: Path) -> None:
    named = [
        {"name": "tool use", "template": "T"},
        {"name": "default", "template": "D"},
        {"name": "rag", "template": "R"},
    ]
    found = metadata(written(tmp_path, {"tokenizer_config.json": {"chat_template": named}}))
    assert found["tokenizer.chat_template"] == "D"
    assert found["tokenizer.chat_templates"] == ["rag", "tool_use"]
    assert (found["tokenizer.chat_template.rag"], found["tokenizer.chat_template.tool_use"]) == ("R", "T")


def test_ids_beyond_the_vocabulary_are_passed_over(tmp_path: Path) -> None:
    written(tmp_path, {"config.json": {"bos_token_id": 5, "eos_token_id": 6}})
    assert read_special(tmp_path, merges=False, n_vocab=6).ids == {"bos": 5}


def test_kinds_without_a_key_are_passed_over() -> None:
    writer = new_collector("llama")
    set_special(writer, {"eot": 3, "cls": 4, "pad": 5})
    found = {key: value.value for key, value in collected(writer).items()}
    assert found[gguf.Keys.Tokenizer.EOT_ID] == 3
    assert found[gguf.Keys.Tokenizer.PAD_ID] == 5
    assert set(found.values()) == {"llama", 3, 5}


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": {"bos_token_id": -1}},
        {"tokenizer.json": {"model": 7}},
        {"tokenizer.json": {"model": {"merges": [["a"]]}}},
        {"tokenizer.json": {"post_processor": {"processors": [7]}}},
        {"tokenizer.json": {"post_processor": {"type": "TemplateProcessing", "single": [1, 2]}}},
        {"tokenizer.json": {"added_tokens": [{}]}, "tokenizer_config.json": {"bos_token": "a"}},
        {"tokenizer_config.json": {"chat_template": [7]}},
        {"tokenizer_config.json": {"chat_template": [{"name": 7, "template": "x"}]}},
        {"merges.txt": "\udcff"},
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        data = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_bytes(data.encode(errors="surrogateescape"))
    with pytest.raises(NamingError, match="special tokens cannot be read") as refused:
        metadata(tmp_path)
    assert refused.value.code == "bad-tokenizer"
