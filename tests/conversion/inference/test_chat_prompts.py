"""One turn in a model's own words: special tokens are tokens, bos comes once, and a hostile template harms nobody."""

import pytest

from conversion.formats.gguf.writer import string
from conversion.inference.chat_prompts import chat_prompt
from conversion.inference.engine import EngineError
from tests.conversion.inference.planted.family import rebuilt

TURNS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
ANSWER = "{% if add_generation_prompt %}[assistant]{% endif %}"


@pytest.fixture
def with_template(converted, tmp_path):
    def make(template):
        return rebuilt(
            converted("Q8_0"), tmp_path / "chat.gguf",
            metadata=lambda found: {**found, "tokenizer.chat_template": string(template)},
        )  # fmt: skip

    return make


def test_without_a_template_there_is_no_chat(converted):
    assert chat_prompt(converted("Q8_0"), "Hello") is None


@pytest.mark.parametrize("begins", ["{{ bos_token }}", ""])
def test_a_turn_is_put_as_the_template_puts_it_with_one_bos(with_template, begins):
    made = chat_prompt(with_template(begins + TURNS + ANSWER), "Hello")
    assert made.text == f"{'<s>' if begins else ''}[user] Hello</s>[assistant]"
    assert made.ids[0] == 1
    assert made.ids.count(1) == 1
    assert made.ids.count(2) == 1


def test_a_date_is_that_of_today(with_template):
    assert chat_prompt(with_template("{{ strftime_now('%Y') }}"), "Hello").text >= "2026"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ ''.__class__.__mro__ }}", "template-attacks"),
        ("{% for message in messages %}", "template-broken"),
        ("{{ raise_exception('no users here') }}", "template-refuses"),
        ("{{ messages[0].content * 20000 }}", "template-output"),
    ],
)
def test_what_a_template_cannot_say_is_an_error_with_its_code(with_template, template, code):
    with pytest.raises(EngineError) as caught:
        chat_prompt(with_template(template), "Hello")
    assert caught.value.code == code
