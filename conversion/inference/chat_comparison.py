"""The chat templates of an artifact: harmless, the parent's, and the same to both engines.

Each is rendered in a child that may take a little memory, two seconds of CPU time and no attribute of Python's. Only
what loops, attacks or is broken fails: a template that somebody improved is not damage, and its difference is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversion.formats.gguf import read_header
from conversion.formats.source import FileSource
from conversion.inference.chat_templates import (
    CONVERSATIONS,
    DEFAULT,
    Rendered,
    first_difference,
    render_by_jinja,
    render_by_llama,
    template_diff,
    templates_of_folder,
    templates_of_gguf,
)
from conversion.inference.engine import EngineError
from conversion.inference.findings import Findings
from conversion.inference.text_sandbox import TextSandbox
from conversion.inference.tokenization import Voice, compare

HARM = {
    "template-attacks": "reaches for what no template may",
    "template-loops": "does not end",
    "template-too-large": "takes too much memory",
    "template-output": "writes too much",
    "template-crashes": "crashes what renders it",
}
"""Code -> what a template does that is a failure whoever wrote it."""


@dataclass(frozen=True)
class Template:
    """One chat template; `tokens` are the texts of bos and eos, which it may use."""

    name: str
    text: str
    tokens: Mapping[str, str]

    @property
    def who(self) -> str:
        return "its chat template" if self.name == DEFAULT else f"its chat template {self.name!r}"


def templates_of(path: Path) -> dict[str, str]:
    """The chat templates of the artifact at `path`, a GGUF or a folder. EngineError if they cannot be read."""
    if path.is_dir():
        return templates_of_folder(path)
    with FileSource(path) as source:
        return templates_of_gguf(path, read_header(source))


@dataclass
class Speakers:
    """Who renders and who reads: the artifact's tokenizer, its parent's, and what was found so far."""

    ours: Voice
    theirs: list[Voice]
    findings: Findings
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        special = self.ours.vocabulary.special
        for name in ("bos", "eos"):
            text = self.ours.sandbox.decode([[special[name]]])[0] if name in special else ""
            self.tokens[f"{name}_token"] = text


def compare_templates(own: dict[str, str], parents: dict[str, str] | None, speakers: Speakers) -> None:
    """What is said of every chat template of the artifact; `parents` is None where the parent's are not known."""
    findings = speakers.findings
    findings.value["chat_templates"] = {}
    for name in sorted((parents or {}).keys() - own.keys()):
        findings.warn(f"its parent has a chat template {name!r}, and it has none of that name")
    rendered: dict[str, Rendered] = {}
    for name, text in own.items():
        template = Template(name, text, speakers.tokens)
        known = None if parents is None else parents.get(name, "")
        found = _render(template, known == text, findings)
        if found is None:
            return  # whoever wrote this one wrote the others
        rendered[name] = found
        if known is not None and known != text:
            _compare_with_parents(template, known, found, findings)
    _compare_prompts([text for found in rendered.values() for text in found.texts.values()], speakers)
    for name, found in rendered.items():
        _compare_engines(Template(name, own[name], speakers.tokens), found, speakers)


def _shown(template: Template, findings: Findings) -> dict[str, Any]:
    shown: dict[str, Any] = findings.value["chat_templates"].setdefault(template.name, {})
    return shown


def _render(template: Template, is_parents: bool, findings: Findings) -> Rendered | None:
    """What Jinja makes of it; None if it does harm or cannot be read, which is then among the findings."""
    try:
        with TextSandbox("jinja") as sandbox:
            rendered = render_by_jinja(sandbox, template.text, template.tokens)
    except EngineError as error:
        _say_why_not(template, error.code, error.message, is_parents, findings)
        return None
    for code, words in rendered.refused.values():
        if code in HARM or code == "template-broken":
            _say_why_not(template, code, words, is_parents, findings)
            return None
    refused = {name: words[:160] for name, (_, words) in rendered.refused.items()}
    _shown(template, findings).update(rendered=len(rendered.texts), refuses=refused)
    if not rendered.texts:
        first = next(iter(refused.values()), "")
        findings.warn(f"{template.who} renders none of {len(CONVERSATIONS)} conversations: {first}")
    return rendered


def _say_why_not(template: Template, code: str, words: str, is_parents: bool, findings: Findings) -> None:
    _shown(template, findings)["not_rendered"] = words[:160]
    if code in HARM:
        findings.fail(f"{template.who} {HARM[code]}: {words}", code)
    elif code == "template-broken" and not is_parents:
        findings.fail(f"{template.who} cannot be read: {words}", code)
    else:
        findings.warn(f"{template.who} was not rendered: {words}")


def _compare_with_parents(template: Template, parents: str, ours: Rendered, findings: Findings) -> None:
    """Another text is a warning with the first difference, unless every conversation comes out the same."""
    if not parents:
        findings.warn(f"it has a chat template {template.name!r}, and its parent has none of that name")
        return
    shown = _shown(template, findings)
    shown["diff"] = template_diff(template.text, parents)
    try:
        with TextSandbox("jinja") as sandbox:
            theirs = render_by_jinja(sandbox, parents, template.tokens)
    except EngineError as error:
        findings.warn(f"{template.who} is not its parent's, which was not rendered: {error.message}")
        return
    difference = first_difference(ours.texts, theirs.texts)
    refusals = sorted(ours.refused.keys() ^ theirs.refused.keys())
    if difference or refusals:
        words = difference or f"only one of them renders {refusals[0]}"
        findings.warn(f"{template.who} is not its parent's: {words}")
    else:
        shown["same_in_effect"] = True


def _compare_prompts(prompts: list[str], speakers: Speakers) -> None:
    """What the model would be given is the same ids by every container of the parent that knows special tokens.

    For SentencePiece llama.cpp puts a space after every special token, and libraries do not: told, not judged.
    """
    for voice in speakers.theirs:
        if voice.name == "tokenizer.model" or not prompts:
            continue
        found = compare(speakers.ours, voice, prompts, parse=True)
        if not found.n_differing:
            continue
        speakers.findings.value["prompts"] = found.words
        if not (voice.is_library and speakers.ours.vocabulary.kind == "SentencePiece"):
            speakers.findings.warn(f"a rendered prompt has other ids than its parent gives: {found.words}")


def _compare_engines(template: Template, by_jinja: Rendered, speakers: Speakers) -> None:
    """llama.cpp's own engine says what Jinja says, of the conversations that Jinja rendered."""
    if speakers.ours.is_library or not by_jinja.texts:
        return
    shown, findings = _shown(template, speakers.findings), speakers.findings
    try:
        by_llama = render_by_llama(speakers.ours.sandbox, template.text, template.tokens, by_jinja)
    except EngineError as error:
        shown["llama.cpp"] = f"not rendered: {error.message[:160]}"
        if error.code in HARM:
            findings.fail(f"in llama.cpp {template.who} {HARM[error.code]}: {error.message}", error.code)
        elif error.code != "engine-mismatch":
            findings.warn(f"llama.cpp does not render {template.who}: {error.message}")
        return
    difference = first_difference(by_llama.texts, by_jinja.texts)
    shown["llama.cpp"] = difference or "the same"
    if difference:
        findings.warn(f"llama.cpp renders {template.who} unlike Jinja: {difference}")
    else:
        n = len(by_llama.texts)
        findings.approve(
            f"both engines render the {template.who.removeprefix('its ')} alike in {n} conversations"
        )
