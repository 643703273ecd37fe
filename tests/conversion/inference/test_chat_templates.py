import json

import pytest

from conversion.formats.gguf import string
from conversion.inference.chat_comparison import templates_of
from conversion.inference.chat_templates import (
    MAX_TEMPLATE_CHARACTERS,
    Rendered,
    first_difference,
    template_diff,
    templates_of_folder,
)
from conversion.inference.conversation import Answer
from conversion.inference.engine import EngineError
from tests.conversion.inference.vocabularies import tokenizer_folder, vocabulary_gguf


def write(folder, **settings):
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_a_folder_keeps_its_templates_in_a_file_or_in_its_settings(tmp_path):
    assert templates_of_folder(write(tmp_path, model_max_length=1)) == {}
    (tmp_path / "chat_template.jinja").write_text("a")
    assert templates_of_folder(tmp_path) == {"default": "a"}
    assert templates_of_folder(write(tmp_path, chat_template="b")) == {"default": "b"}
    named = [{"name": "default", "template": "c"}, {"name": "tool_use", "template": "d"}, {"name": "e"}, 7]
    assert templates_of_folder(write(tmp_path, chat_template=named)) == {"default": "c", "tool_use": "d"}


def test_a_gguf_keeps_named_templates_beside_the_one_without_a_name(tmp_path):
    folder = tokenizer_folder(tmp_path / "model", "llama-bpe", "a")
    path = vocabulary_gguf(
        tmp_path / "a.gguf",
        folder,
        "llama-bpe",
        lambda metadata: metadata.update({"tokenizer.chat_template.tool_use": string("b" * 70_000)}),
    )
    assert templates_of(path) == {"default": "a", "tool_use": "b" * 70_000}


@pytest.mark.parametrize("kept", [
    {"chat_template": "x" * (MAX_TEMPLATE_CHARACTERS + 1)},
    {"chat_template": [{"name": str(n), "template": "x"} for n in range(17)]},
])  # fmt: skip
def test_more_than_any_model_has_is_refused(tmp_path, kept):
    with pytest.raises(EngineError) as caught:
        templates_of_folder(write(tmp_path, **kept))
    assert caught.value.code == "template-too-large"


def test_settings_that_are_no_json_are_said_to_be_unreadable(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(EngineError, match=r"cannot be read: tokenizer_config\.json is not JSON"):
        templates_of_folder(tmp_path)


def test_a_difference_is_shown_where_it_begins():
    assert first_difference({"a": "same"}, {"a": "same"}) == ""
    words = first_difference({"a": "same", "b": "one two"}, {"a": "same", "b": "one too"})
    assert words == "b: 'one two' instead of 'one too' at character 5"
    assert first_difference({"a": "longer"}, {"a": "long"}).endswith("at character 4")
    assert template_diff("a\nb\nc", "a\nx\nc") == ["@@ -2 +2 @@", "-x", "+b"]


@pytest.mark.parametrize("answer", [
    {"text": 5}, {}, {"error": 5, "message": ""}, {"error": "x"}, {"text": "", "dates": 7},
    {"text": "", "dates": {"%d": 1}},
])  # fmt: skip
def test_an_answer_that_is_neither_text_nor_error_is_the_engines_fault(answer):
    with pytest.raises(EngineError) as caught:
        Rendered.of({"one turn": Answer(answer)})
    assert caught.value.code == "engine-answer"


def test_what_a_template_says_reaches_no_terminal_as_it_is():
    refused = Rendered.of({"one turn": Answer(error="template-refuses", message="\x1b[2Jgone\n")}).refused
    assert refused == {"one turn": ("template-refuses", "[2Jgone")}
    assert template_diff("\x1b[31mred", "") == ["@@ -0,0 +1 @@", "+ [31mred"]
