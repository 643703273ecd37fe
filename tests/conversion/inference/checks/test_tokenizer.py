"""Healthy tokenizers pass in every container; each planted fault is found and said in words."""

import json
from types import SimpleNamespace

import pytest

from conversion.inference.checks.trial import Reference
from conversion.inference.readings import text_lines
from conversion.inference.strings import read_strings
from conversion.inference.text_sandbox import TextSandbox
from tests.conversion.inference.vocabularies import (
    N_TOKENS,
    check,
    put,
    swap,
    tokenizer_folder,
    vocabulary_gguf,
    with_weights,
)

CHATML = (
    "{% for one in messages %}<|im_start|>{{ one.role }}\n{{ one.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATE = "tokenizer.chat_template"


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A byte-level BPE tokenizer with a chat template, as its checkpoint has it and as the GGUF that we make of it."""
    home = tmp_path_factory.mktemp("bpe")
    folder = tokenizer_folder(home / "model", "llama-bpe", CHATML)
    return folder, vocabulary_gguf(home / "model.gguf", folder, "llama-bpe")


@pytest.mark.parametrize("name", ["llama-bpe", "byte_fallback", "wordpiece", "unigram"])
def test_a_gguf_that_we_make_has_the_ids_of_its_parents_own_files(tmp_path, name):
    folder = tokenizer_folder(tmp_path / "model", name)
    found = check(vocabulary_gguf(tmp_path / "a.gguf", folder, name), Reference("transformers", folder))
    assert found.verdict == "pass", found.summary
    assert "plain texts have the ids of the parent's tokenizer." in found.summary
    assert found.value["round_trip"]["texts"] > len(read_strings()) > 200
    assert found.value["round_trip"]["lost"] == 0
    if name == "llama-bpe":
        assert found.value["round_trip"]["unchanged"] == found.value["round_trip"]["texts"]


def test_beside_the_parents_gguf_everything_is_equal_and_both_engines_render_the_template(bpe):
    folder, gguf = bpe
    found = check(gguf, Reference("llama.cpp", gguf, tokenizer=folder / "tokenizer.json"))
    assert found.verdict == "pass", found.summary
    assert found.value["differing"] == {"GGUF": 0, "tokenizer.json": 0}
    assert found.value["chat_templates"] == {
        "default": {"rendered": 6, "refuses": {}, "llama.cpp": "the same"}
    }
    assert "its tokenizer is that of the parent's GGUF to the last byte" in found.summary
    assert "both engines render the chat template alike in 5 conversations" in found.summary


def test_a_tokenizer_that_was_only_written_anew_passes(bpe, tmp_path):
    folder, _ = bpe
    again = with_weights(tokenizer_folder(tmp_path / "again", "llama-bpe", CHATML))
    described = json.loads((folder / "tokenizer.json").read_text())
    (again / "tokenizer.json").write_text(json.dumps(described, indent=3, sort_keys=True))
    found = check(again, Reference("transformers", folder))
    assert found.verdict == "pass", found.summary


@pytest.mark.parametrize(("change", "code", "words"), [
    (swap("tokenizer.ggml.tokens", 70, 71), "tokenizer-differs", "in the parent's GGUF: number "),
    (swap("tokenizer.ggml.merges", 0, 40), "tokenizer-differs", "in the parent's GGUF: number "),
    (put("tokenizer.ggml.eos_token_id", 77), "special-tokens-differ", "its eos token is 77 instead of 2"),
    (put("tokenizer.ggml.add_bos_token", False), "special-tokens-differ", "does not put the bos token around a text"),
])  # fmt: skip
def test_a_changed_vocabulary_is_found_beside_the_parents_gguf(bpe, tmp_path, change, code, words):
    folder, parent = bpe
    changed = vocabulary_gguf(tmp_path / "changed.gguf", folder, "llama-bpe", change)
    found = check(changed, Reference("llama.cpp", parent))
    assert (found.verdict, found.code) == ("fail", code), found.summary
    assert words in found.summary


def merge_digits(metadata):
    """A piece and a merge that rules for single digits never come to."""
    metadata["tokenizer.ggml.tokens"].value[N_TOKENS - 1] = "12"
    metadata["tokenizer.ggml.token_type"].value[N_TOKENS - 1] = 1
    metadata["tokenizer.ggml.merges"].value.append("1 2")


def test_another_pre_tokenizer_is_a_fault_where_text_shows_it_and_else_a_warning(bpe, tmp_path):
    def split_digits(metadata):
        merge_digits(metadata)
        put("tokenizer.ggml.pre", "smollm")(metadata)

    folder, plain = bpe
    parent = vocabulary_gguf(tmp_path / "parent.gguf", folder, "llama-bpe", merge_digits)
    found = check(
        vocabulary_gguf(tmp_path / "digits.gguf", folder, "llama-bpe", split_digits),
        Reference("llama.cpp", parent),
    )
    assert (found.verdict, found.code) == ("fail", "tokenizer-differs")
    assert "ids here and" in found.summary
    assert "('1') instead of 351 ('12')" in found.summary
    unseen = vocabulary_gguf(
        tmp_path / "unseen.gguf", folder, "llama-bpe", put("tokenizer.ggml.pre", "smollm")
    )
    found = check(unseen, Reference("llama.cpp", plain))
    assert found.verdict == "warn"
    assert "tokenizer.ggml.pre is 'smollm' instead of 'llama-bpe'" in found.summary


def test_a_changed_vocabulary_is_found_beside_the_parents_own_files(bpe, tmp_path):
    folder, _ = bpe
    changed = vocabulary_gguf(
        tmp_path / "changed.gguf", folder, "llama-bpe", swap("tokenizer.ggml.tokens", 70, 71)
    )
    found = check(changed, Reference("transformers", folder))
    assert (found.verdict, found.code) == ("fail", "tokenizer-differs")
    assert "in the parent's tokenizer.json: number " in found.summary


def test_a_piece_that_none_of_our_texts_uses_is_found_in_the_tables(bpe, tmp_path):
    folder, parent = bpe
    with TextSandbox("llama.cpp vocabulary", parent) as model:
        texts = [*text_lines(), *read_strings()]
        used = {token for ids in model.encode(texts) for token in ids}
        rare = [token for token in range(4, 260) if token not in used][:2]
    found = check(
        vocabulary_gguf(tmp_path / "changed.gguf", folder, "llama-bpe", swap("tokenizer.ggml.tokens", *rare)),
        Reference("llama.cpp", parent),
    )
    assert (found.verdict, found.code) == ("fail", "tokenizer-differs")
    assert found.summary.startswith(f"its tokenizer is not its parent's: piece {rare[0]} is ")


def test_a_special_token_with_another_text_is_a_warning_beside_the_parents_own_files(bpe, tmp_path):
    def rename(metadata):
        assert metadata["tokenizer.ggml.tokens"].value[3] == "<|pad|>"
        metadata["tokenizer.ggml.tokens"].value[3] = "<|fill|>"

    folder, _ = bpe
    renamed = vocabulary_gguf(tmp_path / "renamed.gguf", folder, "llama-bpe", rename)
    found = check(renamed, Reference("transformers", folder))
    assert found.verdict == "warn"
    assert found.summary.startswith(
        "special tokens are read otherwise in text: 'a<|fill|>' gives 2 ids here and "
    )


def test_a_parent_that_is_only_recorded_is_compared_with_what_it_said(bpe, tmp_path):
    folder, gguf = bpe
    with TextSandbox("tokenizer", folder / "tokenizer.json") as own:
        said = dict(zip(read_strings(), own.encode(read_strings()), strict=True))
    recorded = Reference("llama.cpp", tmp_path / "gone.gguf", reading=SimpleNamespace(strings=said))
    assert "have the ids of the parent, as recorded" in check(gguf, recorded).summary
    changed = vocabulary_gguf(
        tmp_path / "changed.gguf", folder, "llama-bpe", swap("tokenizer.ggml.tokens", 70, 71)
    )
    found = check(changed, recorded)
    assert (found.verdict, found.code) == ("fail", "tokenizer-differs")


def test_tokens_without_rows_of_weights_are_a_fault(bpe, tmp_path):
    folder, _ = bpe
    found = check(vocabulary_gguf(tmp_path / "short.gguf", folder, "llama-bpe", rows=351))
    assert (found.verdict, found.summary) == ("fail", "352 tokens, but 351 rows of embeddings")


def test_a_model_without_a_tokenizer_says_so(tmp_path, bpe):
    folder, parent = bpe
    none = vocabulary_gguf(
        tmp_path / "none.gguf", folder, "llama-bpe", put("tokenizer.ggml.model", "no_vocab")
    )
    assert check(none).verdict == "skipped"
    assert check(none, Reference("llama.cpp", parent)).code == "tokenizer-missing"


@pytest.mark.parametrize(("template", "verdict", "words"), [
    (CHATML.replace("|>\n{%", "|>{%"), "warn", "is not its parent's: one turn: "),
    (CHATML + "{# better #}", "pass", "both engines render"),
    ("{{ ''.__class__.__mro__ }}", "fail", "its chat template reaches for what no template may: SecurityError"),
    ("{{ 'a' * 1000000000 }}", "fail", "its chat template takes too much memory"),
    ("{% for one in %}", "fail", "its chat template cannot be read: TemplateSyntaxError"),
    ("{{ messages | map(attribute='content') | list | pprint }}", "warn", "is not its parent's: one turn"),
])  # fmt: skip
def test_another_chat_template_than_the_parents(bpe, tmp_path, template, verdict, words):
    folder, parent = bpe
    changed = vocabulary_gguf(tmp_path / "a.gguf", folder, "llama-bpe", put(TEMPLATE, template))
    found = check(changed, Reference("llama.cpp", parent))
    assert found.verdict == verdict, found.summary
    assert words in found.summary


def test_a_lost_chat_template_is_a_warning(bpe, tmp_path):
    folder, parent = bpe
    lost = vocabulary_gguf(tmp_path / "a.gguf", folder, "llama-bpe", lambda metadata: metadata.pop(TEMPLATE))
    found = check(lost, Reference("llama.cpp", parent))
    assert found.verdict == "warn"
    assert found.summary == "its parent has a chat template 'default', and it has none of that name"
