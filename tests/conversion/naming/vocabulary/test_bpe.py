"""Byte-level BPE: tokens, types, merges, and the pre-tokenizer found by its digest or its rules, never by a guess."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from conversion.naming import llama
from conversion.naming.base import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.vocabulary.bpe import read_tokens
from conversion.naming.vocabulary.pretokenizer_rules import BY_DIGEST, NAMES, RULES
from conversion.naming.vocabulary.pretokenizers import identify, probe_digest
from tests.conversion.naming.models import config

TEXT = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void;",
] * 5


def trained(special: tuple[str, ...] = ("<|endoftext|>",), **added: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXT, trainer)
    for text, is_special in added.items():
        tokenizer.add_tokens([AddedToken(text, special=is_special, normalized=False)])
    return tokenizer


def described(name: str) -> dict[str, Any]:
    """A tokenizer.json whose rules are those of the named pre-tokenizer."""
    normalizer, ignore_merges, rule = RULES[name]
    found = json.loads(trained().to_str())
    found["normalizer"] = {"type": normalizer} if normalizer else None
    found["model"]["ignore_merges"] = ignore_merges
    found["pre_tokenizer"] = _with_defaults(rule)
    return found


def _with_defaults(rule: dict[str, Any]) -> dict[str, Any]:
    """As the library writes it: with the options that do not change where text is split."""
    made = copy.deepcopy(rule)
    for one in [made, *made.get("pretokenizers", [])]:
        if one["type"] == "ByteLevel":
            one |= {"add_prefix_space": False, "trim_offsets": True}
    return made


def vocabulary(folder: Path, vocab_size: int) -> dict[str, Any]:
    writer = new_collector("llama")
    llama.vocabulary(config(vocab_size=vocab_size), folder, writer)
    return {key: value.value for key, value in collected(writer).items()}


@pytest.mark.parametrize("name", RULES)
def test_the_rules_of_a_pre_tokenizer_name_it_whatever_the_vocabulary(name: str) -> None:
    found = described(name)
    tokenizer = Tokenizer.from_str(json.dumps(found))
    assert probe_digest(tokenizer) not in BY_DIGEST
    assert identify(tokenizer, found) == name


def test_every_digest_names_a_pre_tokenizer_that_a_person_may_name() -> None:
    assert set(BY_DIGEST.values()) <= NAMES
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in BY_DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "Whitespace"}},
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            }
        },
        {"normalizer": {"type": "Lowercase"}},
    ],
)
def test_any_other_rules_are_an_error_that_lists_what_is_supported(change: dict[str, Any]) -> None:
    found = described("gpt-2") | change
    with pytest.raises(NamingError, match="Supported: llama-bpe, dbrx, qwen2, tekken") as refused:
        identify(Tokenizer.from_str(json.dumps(found)), found)
    assert refused.value.code == "unknown-pre-tokenizer"


def test_one_changed_letter_in_the_splitting_rule_is_another_pre_tokenizer() -> None:
    found = described("llama-bpe")
    split = found["pre_tokenizer"]["pretokenizers"][0]["pattern"]
    split["Regex"] = split["Regex"].replace("{1,3}", "{1,2}")
    with pytest.raises(NamingError, match="not one we know"):
        identify(Tokenizer.from_str(json.dumps(found)), found)


@pytest.mark.parametrize(
    ("rule", "architecture", "name"),
    [
        ("smollm", "llama", "smollm"), ("smollm", "granite", "refact"), ("qwen2", "stablelm", "stablelm2"),
        ("gpt-4o", "llama4", "llama4"), ("dbrx", "olmo2", "dbrx"),
    ],
)  # fmt: skip
def test_a_rule_of_several_names_is_called_as_the_architecture_calls_it(
    rule: str, architecture: str, name: str
) -> None:
    found = described(rule)
    assert identify(Tokenizer.from_str(json.dumps(found)), found, architecture) == name


@pytest.mark.parametrize("name", ["dbrx", "gpt-4o"])
def test_keeping_what_the_pattern_finds_is_the_same_as_splitting_there(name: str) -> None:
    """Granite 4 writes its rule so."""
    found = described(name)
    found["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}
    text = "I've 1234 'stones'!\n\n  DON'T…"
    theirs = Tokenizer.from_str(json.dumps(found))
    ours = Tokenizer.from_str(json.dumps(described(name)))
    assert theirs.encode(text).ids == ours.encode(text).ids
    assert identify(theirs, found) == name


def test_an_empty_sequence_of_normalizers_is_none() -> None:
    found = described("dbrx") | {"normalizer": {"type": "Sequence", "normalizers": []}}
    assert identify(Tokenizer.from_str(json.dumps(found)), found) == "dbrx"


def test_a_person_may_name_the_pre_tokenizer(tmp_path: Path) -> None:
    found = described("gpt-2") | {"pre_tokenizer": {"type": "Whitespace"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(found))
    writer = new_collector("llama", "falcon3")
    llama.vocabulary(config(vocab_size=300), tmp_path, writer)
    assert collected(writer)["tokenizer.ggml.pre"].value == "falcon3"
    with pytest.raises(NamingError, match="'falcon-77' is not a pre-tokenizer we know") as refused:
        llama.vocabulary(config(vocab_size=300), tmp_path, new_collector("llama", "falcon-77"))
    assert refused.value.code == "unknown-pre-tokenizer"


def test_tokens_come_in_the_order_of_their_ids_with_their_types() -> None:
    tokenizer = trained(**{"<tool>": False, "<|im_end|>": False, "<think>": True})
    size = tokenizer.get_vocab_size()
    tokens, types = read_tokens(tokenizer, size + 2)
    assert tokens[:size] == [tokenizer.id_to_token(number) for number in range(size)]
    assert tokens[size:] == [f"[PAD{size}]", f"[PAD{size + 1}]"]
    kinds = dict(zip(tokens, types, strict=True))
    assert (kinds["<|endoftext|>"], kinds["<think>"]) == (3, 3)
    assert kinds["<|im_end|>"] == 3, "it looks special, though its flag was forgotten"
    assert (kinds["<tool>"], kinds["!"], kinds[f"[PAD{size}]"]) == (4, 1, 5)


def test_a_token_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(NamingError, match=r"but config\.json says vocab_size is 100") as refused:
        read_tokens(trained(), 100)
    assert refused.value.code == "bad-tokenizer"


def test_the_metadata_holds_merges_special_ids_and_flags(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(described("smollm")))
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "add_prefix_space": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    found = vocabulary(tmp_path, 300)
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"]) == ("gpt2", "smollm")
    assert len(found["tokenizer.ggml.merges"]) == 300 - 1 - 256
    assert found["tokenizer.ggml.merges"][0].count(" ") == 1
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (0, 0)
    assert found["tokenizer.ggml.add_space_prefix"] is False


def test_a_byte_level_post_processor_adds_neither_bos_nor_eos(tmp_path: Path) -> None:
    made = described("gpt-2") | {
        "post_processor": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": False,
            "use_regex": True,
        }
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(made))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True}))
    found = vocabulary(tmp_path, 300)
    assert (found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]) == (False, False)


def test_smollm_s_vocabulary_adds_no_bos(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(described("smollm")))
    assert vocabulary(tmp_path, 49152)["tokenizer.ggml.add_bos_token"] is False


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}, "unsupported-tokenizer"),
        ({"type": "BPE", "byte_fallback": True, "vocab": {}, "merges": []}, "unsupported-tokenizer"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}, "bad-tokenizer"),
        ("text", "unsupported-tokenizer"),
    ],
)
def test_other_tokenizers_are_refused_by_kind(tmp_path: Path, model: object, code: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(described("gpt-2") | {"model": model}))
    with pytest.raises(NamingError) as refused:
        vocabulary(tmp_path, 300)
    assert refused.value.code == code


@pytest.mark.parametrize("content", ["", "[1]", '{"model":', "[" * 100_000])
def test_files_that_are_not_json_objects_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(NamingError, match=r"tokenizer\.json is not") as refused:
        vocabulary(tmp_path, 300)
    assert refused.value.code == "bad-tokenizer"
