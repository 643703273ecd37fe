"""llama.cpp's own templates, called through ctypes, say what Jinja says; what they do to a process is told."""

import ctypes
import ctypes.util

import pytest

from conversion.inference import llama_chat
from conversion.inference.chat_templates import CONVERSATIONS, render_by_jinja, render_by_llama
from conversion.inference.engine import EngineError
from conversion.inference.llama_chat import LlamaChat
from conversion.inference.text_sandbox import TextSandbox
from tests.conversion.inference.vocabularies import EVERYTHING, TOKENS, tokenizer_folder, vocabulary_gguf


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    home = tmp_path_factory.mktemp("chat")
    return vocabulary_gguf(home / "a.gguf", tokenizer_folder(home / "model", "llama-bpe"), "llama-bpe")


def test_both_engines_render_every_conversation_alike(gguf):
    with TextSandbox("jinja") as jinja, TextSandbox("llama.cpp vocabulary", gguf) as llama:
        by_jinja = render_by_jinja(jinja, EVERYTHING, TOKENS)
        by_llama = render_by_llama(llama, EVERYTHING, TOKENS, by_jinja)
    assert by_jinja.texts.keys() == CONVERSATIONS.keys()
    assert len(by_llama.texts) == len(CONVERSATIONS) - 1
    assert by_llama.texts == {name: by_jinja.texts[name] for name in by_llama.texts}
    assert by_llama.texts["one turn"] == "<s>[1 user]Hello26 Jul 202426 Jul 2024[assistant]"
    assert '<call>get_weather {"city": "Zürich"}</s>[3 tool]18 °C' in by_llama.texts["a tool call"]
    assert '"name": "get_weather"' in by_llama.texts["a tool call"]


@pytest.mark.parametrize(("template", "code", "words"), [
    ("{{ raise_exception('no system role') }}", "template-refuses", "no system role"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template-crashes", "SIGSEGV"),
    ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "template-loops", "0.5"),
])  # fmt: skip
def test_what_a_template_does_to_llama_cpp_is_told(gguf, template, code, words):
    with TextSandbox("llama.cpp vocabulary", gguf) as llama, pytest.raises(EngineError) as caught:
        llama.render(template, [CONVERSATIONS["one turn"]], TOKENS, cpu_seconds=0.5)
    assert caught.value.code == code
    assert words in caught.value.message


def test_a_library_without_the_functions_is_a_mismatch():
    with pytest.raises(EngineError, match="exports no ") as caught:
        LlamaChat(ctypes.CDLL(ctypes.util.find_library("c")))
    assert caught.value.code == "engine-mismatch"


def test_a_layout_that_is_not_the_librarys_is_noticed(monkeypatch):
    """The proof compares two ways to one text: here its own conversation is another one."""
    from conversion.inference.llama_api import open_library
    from conversion.inference.llamacpp import library_path

    chat = LlamaChat(open_library(str(library_path())))
    chat.prove()
    monkeypatch.setitem(llama_chat.EXAMPLE, "messages", [{"role": "user", "content": "Hello"}])
    with pytest.raises(EngineError, match="not called as we call them"):
        chat.prove()
