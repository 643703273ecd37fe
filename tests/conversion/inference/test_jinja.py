"""Chat templates in Jinja: what transformers renders is rendered, and nothing else can be had."""

import json

import pytest

from conversion.inference.chat_templates import CONVERSATIONS, NOW, render_by_jinja
from conversion.inference.engine import MAX_RENDERED_CHARACTERS, EngineError
from conversion.inference.jinja import JinjaEngine
from conversion.inference.text_sandbox import TextSandbox
from tests.conversion.inference.vocabularies import EVERYTHING, TOKENS

TALK = [{"messages": [{"role": "user", "content": "é < &"}], "tools": None, "add_generation_prompt": True}]


def render(template, **variables):
    """In this process: the templates of this file are ours."""
    (answer,) = JinjaEngine().load("").render(template, TALK, {"now": NOW} | variables)
    return answer


@pytest.mark.parametrize(("template", "text"), [
    ("{% for one in messages %}\n  {% if one.role %}\n{{ one.role }}\n  {% endif %}\n{% endfor %}", "user\n"),
    ("{{ messages[0] | tojson }}", json.dumps(TALK[0]["messages"][0], ensure_ascii=False)),
    ("{{ {'b': 1, 'a': [1]} | tojson(indent=2, sort_keys=true) }}", '{\n  "a": [\n    1\n  ],\n  "b": 1\n}'),
    ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
    ("{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}", "01"),
    ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "é < &"),
    ("{% set n = namespace(x=0) %}{% for y in [1, 2] %}{% set n.x = n.x + y %}{% endfor %}{{ n.x }}", "3"),
    ("{{ dict(a=1)['a'] }}{{ tools is none }}{{ functions is defined }}", "1TrueFalse"),
    ("{{ bos_token }}{{ 'x' if add_generation_prompt }}", "<s>x"),
])  # fmt: skip
def test_a_template_renders_as_in_transformers(template, text):
    assert render(template, bos_token="<s>")["text"] == text


def test_every_conversation_comes_out_as_from_transformers_itself():
    from transformers.utils.chat_template_utils import render_jinja_template

    template = EVERYTHING.replace("{{- strftime_now('%d %b %Y') + date_string }}", "")
    with TextSandbox("jinja") as sandbox:
        ours = render_by_jinja(sandbox, template, TOKENS)
    for name, one in CONVERSATIONS.items():
        asked = {"tools": None, "add_generation_prompt": True} | one
        (theirs,), _ = render_jinja_template(
            [asked.pop("messages")], chat_template=template, **asked, **TOKENS
        )
        assert ours.texts[name] == theirs


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ raise_exception.__globals__.os }}",
    "{{ dict.__class__.__base__.__subclasses__() }}",
    "{% set n = namespace(__class__=1) %}",
    "{% set n = namespace() %}{% set n._x = 1 %}",
])  # fmt: skip
def test_a_template_that_climbs_is_an_attack(template):
    assert render(template)["error"] == "template-attacks"


@pytest.mark.parametrize(("template", "code", "words"), [
    ("{{ raise_exception('no system role') }}", "template-refuses", "no system role"),
    ("{% set x = messages.append(1) %}", "template-refuses", "append"),
    ("{{ nothing.at.all }}", "template-refuses", "'nothing' is undefined"),
    ("{% include '/etc/passwd' %}", "template-refuses", "no loader"),
    ("{% import 'os' as os %}", "template-refuses", "no loader"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template-refuses", "recursion"),
    ("{% for %}", "template-broken", "Expected an expression"),
    ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "template-broken", "recursion"),
    ("{% for n in range(100000) %}aaaa{% endfor %}", "template-output", str(MAX_RENDERED_CHARACTERS)),
])  # fmt: skip
def test_what_cannot_be_rendered_says_why(template, code, words):
    answer = render(template)
    assert answer["error"] == code
    assert words in answer["message"]


@pytest.mark.parametrize(("template", "code"), [
    ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "template-loops"),
    ("{{ 'a' * 10 ** 10 }}", "template-too-large"),
])  # fmt: skip
def test_a_template_that_takes_too_much_is_stopped(template, code):
    with TextSandbox("jinja") as sandbox, pytest.raises(EngineError) as caught:
        sandbox.render(template, list(CONVERSATIONS.values()), {"now": NOW}, cpu_seconds=0.2)
    assert caught.value.code == code
