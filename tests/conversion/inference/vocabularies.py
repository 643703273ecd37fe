"""Vocabularies without weights: the fixtures' tokenizers, as folders and as GGUFs that our converter describes."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from conversion.formats import safetensors
from conversion.formats.gguf import Value, boolean, plan_file, string, uint32
from conversion.inference.checks.tokenizer import check_tokenizer
from conversion.inference.checks.trial import Reference, Trial
from conversion.inference.report import Check, Report
from conversion.inference.subjects import look_at, subject_of
from conversion.naming.collecting import collected, new_collector
from conversion.naming.vocabulary import bpe, byte_fallback, sentencepiece, unigram, wordpiece
from tests.fixtures.architectures.fixture import write_tokenizer

KINDS = {
    "wordpiece": wordpiece,
    "unigram": unigram,
    "byte_fallback": byte_fallback,
    "sentencepiece": sentencepiece,
}
N_TOKENS = 352
"""As many as the largest of the fixtures' tokenizers has; the others have rows that no text becomes."""

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
EVERYTHING = """{{- bos_token }}
{%- if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}
{%- set ns = namespace(n=0) %}
{%- for one in messages %}
    {%- set ns.n = ns.n + 1 %}
    {{- '[' ~ ns.n ~ ' ' + one.role + ']' + one.content | trim }}
    {%- for call in one.tool_calls or [] %}
        {{- '<call>' + call.function.name }} {{ call.function.arguments | tojson }}
    {%- endfor %}
    {{- eos_token if one.role == 'assistant' }}
{%- endfor %}
{{- strftime_now('%d %b %Y') + date_string }}{% if add_generation_prompt %}[assistant]{% endif %}
"""
"""A chat template that uses most of what templates use."""

Metadata = dict[str, Value]
Change = Callable[[Metadata], None]


def tokenizer_folder(folder: Path, name: str, template: str | None = None) -> Path:
    """A checkpoint's folder with that tokenizer of the fixtures, and a chat template if one is given."""
    folder.mkdir()
    write_tokenizer(name, folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def with_weights(folder: Path) -> Path:
    """The folder, now with a model of one matrix."""
    layout = safetensors.plan_file([("model.embed_tokens.weight", (N_TOKENS, 1), "F32")], {"format": "pt"})
    (folder / "model.safetensors").write_bytes(layout.header_bytes + bytes(4 * N_TOKENS))
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    return folder


def vocabulary_gguf(
    path: Path, folder: Path, name: str, change: Change = lambda metadata: None, *, rows: int = N_TOKENS
) -> Path:
    """The tokenizer in `folder` as a GGUF of one matrix, after a change of its metadata."""
    writer = new_collector("bert" if name in ("wordpiece", "unigram") else "llama")
    KINDS.get(name, bpe).describe({"vocab_size": N_TOKENS}, folder, writer)
    metadata = {"general.architecture": string(writer.arch)} | collected(writer)
    change(metadata)
    layout = plan_file(metadata, [("token_embd.weight", (rows, 1), "F32")])
    path.write_bytes(layout.header_bytes + bytes(layout.size_bytes - len(layout.header_bytes)))
    return path


def swap(key: str, a: int, b: int) -> Change:
    """Two entries of an array change places."""

    def change(metadata: Metadata) -> None:
        values = list(metadata[key].value)
        values[a], values[b] = values[b], values[a]
        metadata[key] = Value(metadata[key].type, values, metadata[key].element_type)

    return change


def put(key: str, value: str | bool | int) -> Change:
    """A key has another value."""
    make = boolean if isinstance(value, bool) else uint32 if isinstance(value, int) else string

    def change(metadata: Metadata) -> None:
        metadata[key] = make(value)

    return change


def check(path: Path, reference: Reference | None = None) -> Check:
    """What the check of the tokenizer says of the artifact at `path`."""
    with ExitStack() as stack:
        trial = Trial(Report({}), path, reference, None, 1, lambda phase, share: None, stack)
        trial.look = look_at(path, stack)
        trial.subject = subject_of(trial.look)
        check_tokenizer(trial)
        return trial.report.checks["tokenizer"]
