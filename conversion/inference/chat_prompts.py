"""What somebody says to a model, put as its own chat template puts it: one turn, and the beginning of the answer.

The template is a program of a stranger's, so it is rendered in a child of its own, as when it is judged.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.inference.chat_comparison import templates_of
from conversion.inference.chat_templates import DEFAULT
from conversion.inference.engine import EngineError, Vocabulary
from conversion.inference.text_sandbox import TextSandbox

VOCABULARY = "llama.cpp vocabulary"


@dataclass(frozen=True)
class ChatPrompt:
    """What the template made of what was said, with its special tokens as text; and the ids of that."""

    text: str
    ids: list[int]


def chat_prompt(gguf: Path, said: str) -> ChatPrompt | None:
    """The prompt for one turn of a person, by the chat template in the GGUF; None where it has none.

    The text of a special token becomes that token, in what was said as well: a template is text, and so nobody can
    tell the two apart. Raises EngineError, `template-…` for what is wrong with the template.
    """
    template = _template_of(gguf)
    if not template:
        return None
    with TextSandbox(VOCABULARY, gguf) as vocabulary:
        described = vocabulary.describe()
        tokens = _special_texts(vocabulary, described)
        text = _rendered(template, said, tokens)
        bos = tokens["bos_token"]
        adds_bos = not (bos and text.startswith(bos))  # a template that writes it means the only one
        (ids,) = vocabulary.encode([text], special=adds_bos, parse=True)
    return ChatPrompt(text, ids)


def _template_of(gguf: Path) -> str:
    try:
        return templates_of(gguf).get(DEFAULT, "")
    except HeaderError as error:
        raise EngineError("template-broken", f"the header cannot be read: {error}") from error


def _special_texts(vocabulary: TextSandbox, described: Vocabulary) -> dict[str, str]:
    """What a template may call `bos_token` and `eos_token`; nothing where there is no such token."""
    found = {}
    for name in ("bos", "eos"):
        ids = [described.special[name]] if name in described.special else []
        found[f"{name}_token"] = vocabulary.decode([ids])[0]
    return found


def _rendered(template: str, said: str, tokens: Mapping[str, str]) -> str:
    today = datetime.now(UTC)
    variables = {
        "date_string": f"{today:%d %b %Y}", "datetime": f"{today:%b %d %Y}", "enable_thinking": True,
        "now": time.time(), **tokens,
    }  # fmt: skip
    turn = {"messages": [{"role": "user", "content": said}], "add_generation_prompt": True, "tools": None}
    with TextSandbox("jinja") as sandbox:
        (answer,) = sandbox.render(template, [turn], variables)
    if "error" in answer:
        raise EngineError(answer.text("error"), answer.text("message"))
    return answer.text("text")
