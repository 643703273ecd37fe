"""Chat templates: where each container keeps them, the conversations that they render, and two engines' answers.

A template is a program that somebody else wrote, so it only ever runs in a child (text_sandbox.py).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conversion.formats.gguf import GgufHeader, ValueType, read_value
from conversion.formats.source import FileSource
from conversion.inference.conversation import Answer, printable
from conversion.inference.engine import EngineError
from conversion.inference.text_sandbox import LLAMA_CPU_SECONDS, TextSandbox
from conversion.naming.base import NamingError
from conversion.naming.vocabulary.special import read_special

KEY, DEFAULT = "tokenizer.chat_template", "default"
NOW = datetime(2024, 7, 26, 12, 0, tzinfo=UTC).timestamp()
"""The day on which every template is rendered, so that two reports can be compared."""

GIVEN = {"date_string": "26 Jul 2024", "datetime": "Jul 26 2024", "enable_thinking": True}
"""What llama.cpp gives to every template beside the conversation, with today's date; so Jinja is given it too."""

MAX_TEMPLATES = 16
MAX_TEMPLATE_CHARACTERS = 128 * 1024
"""The longest known has some 25,000."""

N_DIFF_LINES = 12

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name"}},
            "required": ["city"],
        },
    },
}
_CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Zürich"}},
}

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "one turn": {"messages": [{"role": "user", "content": "Hello"}]},
    "a system prompt and turns": {
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "What is 2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "And 3 + 3?"},
        ]
    },
    "without a generation prompt": {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        "add_generation_prompt": False,
    },
    "empty content": {"messages": [{"role": "user", "content": ""}]},
    "other scripts": {"messages": [{"role": "user", "content": "naïve 你好 😀\n\n\tمرحبا  "}]},
    "a tool call": {
        "messages": [
            {"role": "user", "content": "Weather in Zürich?"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "18 °C"},
        ],
        "tools": [_TOOL],
    },
}
"""Name -> what a template is given beside the special tokens. Every one is rendered by every template."""


def templates_of_gguf(path: Path, header: GgufHeader) -> dict[str, str]:
    """The chat templates in a GGUF by name, the one without a name as `default`."""
    with FileSource(path) as source:
        found = {
            key.removeprefix(KEY).lstrip(".") or DEFAULT: str(read_value(source, value).value)
            for key, value in header.metadata.items()
            if value.type is ValueType.STRING and (key == KEY or key.startswith(KEY + "."))
        }
    return _limited(found)


def templates_of_folder(folder: Path) -> dict[str, str]:
    """The chat templates beside a checkpoint by name. EngineError `template-broken` where its files cannot be read."""
    try:
        found = read_special(folder, merges=False).template
    except (NamingError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise EngineError("template-broken", f"the parent's chat template cannot be read: {error}") from error
    if isinstance(found, str):
        return _limited({DEFAULT: found})
    pairs = [(one.get("name"), one.get("template")) for one in found or () if isinstance(one, Mapping)]
    return _limited({str(name): text for name, text in pairs if name and isinstance(text, str)})


def _limited(found: dict[str, str]) -> dict[str, str]:
    longest = max(map(len, found.values()), default=0)
    if len(found) > MAX_TEMPLATES or longest > MAX_TEMPLATE_CHARACTERS:
        raise EngineError(
            "template-too-large",
            f"{len(found)} chat templates of up to {longest} characters; "
            f"at most {MAX_TEMPLATES} of {MAX_TEMPLATE_CHARACTERS} are rendered",
        )
    return found


@dataclass(frozen=True)
class Rendered:
    """What one engine made of each conversation: a text, or why there is none."""

    texts: dict[str, str]
    refused: dict[str, tuple[str, str]]
    dates: dict[str, str]

    @classmethod
    def of(cls, answers: Mapping[str, Answer]) -> "Rendered":
        """EngineError `engine-answer` for an answer that is neither."""
        refused = {name: one for name, one in answers.items() if "error" in one}
        dates = [one.object("dates") for one in answers.values() if "dates" in one]
        return cls(
            {name: one.text("text") for name, one in answers.items() if name not in refused},
            {name: (one.text("error"), printable(one.text("message"))) for name, one in refused.items()},
            {form: one.text(form) for one in dates for form in one},
        )


def render_by_jinja(sandbox: TextSandbox, template: str, tokens: Mapping[str, str]) -> Rendered:
    """Every conversation as transformers renders it. Raises EngineError as TextSandbox.render does."""
    variables = {**GIVEN, **tokens, "now": NOW}
    given = [_given(one) for one in CONVERSATIONS.values()]
    answers = sandbox.render(template, given, variables)
    return Rendered.of(dict(zip(CONVERSATIONS, answers, strict=True)))


def render_by_llama(
    sandbox: TextSandbox, template: str, tokens: Mapping[str, str], like: Rendered
) -> Rendered:
    """The conversations that Jinja rendered, as llama.cpp renders them, on the same day.

    Only those that ask for an answer: for others llama.cpp ends some formats in its own way, on purpose.
    """
    names = [name for name in like.texts if CONVERSATIONS[name].get("add_generation_prompt", True)]
    answers = sandbox.render(
        _dated(like.dates) + template,
        [_given(CONVERSATIONS[name]) for name in names],
        dict(tokens),
        cpu_seconds=LLAMA_CPU_SECONDS,
    )
    return Rendered.of(dict(zip(names, answers, strict=True)))


def _given(conversation: dict[str, Any]) -> dict[str, Any]:
    return {"add_generation_prompt": True, "tools": None} | conversation


def _dated(dates: Mapping[str, str]) -> str:
    """What stops llama.cpp's clock, for the date formats that the template asked for. Writes nothing."""
    fixed = "".join(f"{{%- set {name} = {_quoted(GIVEN[name])} %}}" for name in ("date_string", "datetime"))
    table = ", ".join(f"{_quoted(form)}: {_quoted(date)}" for form, date in sorted(dates.items()))
    macro = f"{{%- macro strftime_now(form) %}}{{{{ {{{table}}}[form] }}}}{{%- endmacro %}}" if dates else ""
    return f"{fixed}{macro}{{{{ '' }}}}"


def _quoted(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def first_difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Which conversation differs first, and how, for a person; "" if none does."""
    for name, text in theirs.items():
        if ours.get(name, text) != text:
            return f"{name}: {_where(ours[name], text)}"
    return ""


def _where(ours: str, theirs: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if at is None:
        at = min(len(ours), len(theirs))
    start = max(0, at - 12)
    return f"{ours[start : at + 28]!r} instead of {theirs[start : at + 28]!r} at character {at}"


def template_diff(ours: str, theirs: str) -> list[str]:
    """The first lines of a unified diff from the parent's template to ours."""
    lines: Sequence[str] = list(
        difflib.unified_diff(
            theirs.splitlines()[:2000], ours.splitlines()[:2000], "parent", "artifact", lineterm="", n=0
        )
    )
    return [printable(line[:160]) for line in lines[2 : 2 + N_DIFF_LINES]]
