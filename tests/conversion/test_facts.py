"""What a commit says about itself: the card first, then its files, then what the hub would infer."""

import json
from typing import Any

import pytest

from conversion.facts import Facts, formats_of, gather_facts
from conversion.formats import gguf
from conversion.formats.source import BytesSource
from tests.fixtures.heads import HeadSource

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 3,
    "vocab_size": 1024, "max_position_embeddings": 512, "dtype": "float32",
}  # fmt: skip


def gathered(card: str = "", paths: tuple[str, ...] = ("model.safetensors",), **files: Any) -> Facts:
    contents = {name.replace("__", "."): json.dumps(value).encode() for name, value in files.items()}
    if card:
        contents["README.md"] = f"---\n{card}\n---\ntext".encode()
    return gather_facts(contents, [*paths, *contents])


def test_a_transformers_repo_without_a_card_is_understood() -> None:
    facts = gathered(config__json=LLAMA, tokenizer_config__json={"tokenizer_class": "LlamaTokenizer"})
    assert (facts.architecture, facts.context_length) == ("llama", 512)
    assert (facts.library_name, facts.pipeline_tag) == ("transformers", "text-generation")
    assert facts.tags == ["safetensors"]
    assert facts.details["config"]["num_hidden_layers"] == 3
    assert facts.details["tokenizer"] == {
        "kind": "LlamaTokenizer", "vocab_size": 1024, "files": ["tokenizer_config.json"],
    }  # fmt: skip
    assert (facts.license, facts.base_models) == ("", [])


def test_the_card_has_the_first_word() -> None:
    facts = gathered(
        "license: Apache-2.0\npipeline_tag: translation\nlibrary_name: custom\ntags: [a, b]\nlanguage: [en, no]",
        config__json=LLAMA,
    )
    assert (facts.license, facts.pipeline_tag, facts.library_name) == ("apache-2.0", "translation", "custom")
    assert facts.tags == ["a", "b", "safetensors"]
    assert facts.details["languages"] == ["en", "no"]
    assert facts.details["license_from"] == "README.md"


def test_what_the_upstream_hub_inferred_fills_what_nothing_else_says() -> None:
    info = {"pipeline_tag": "text-to-speech", "library_name": "espnet"}
    facts = gather_facts({}, ["model.pt"], upstream_info=info)
    assert (facts.pipeline_tag, facts.library_name, facts.tags) == ("text-to-speech", "espnet", ["pytorch"])


def test_a_gguf_header_speaks_for_a_repo_that_has_nothing_else() -> None:
    header = gguf.read_header(HeadSource("base-Q8_0.gguf"))
    facts = gather_facts({}, ["base-Q8_0.gguf"], header)
    assert (facts.architecture, facts.context_length, facts.library_name) == ("llama", 512, "gguf")
    assert facts.details["config"]["num_hidden_layers"] == 3
    assert facts.details["tokenizer"] == {"kind": "llama", "vocab_size": 1024}


def test_parents_of_a_gguf_file_are_read_from_its_metadata() -> None:
    layout = gguf.plan_file(
        {
            "general.base_model.count": gguf.uint32(2),
            "general.base_model.0.repo_url": gguf.string("https://huggingface.co/org/base"),
            "general.base_model.1.repo_url": gguf.string("javascript:alert(1)"),
            "general.license": gguf.string("MIT"),
        },
        [],
    )
    facts = gather_facts({}, ["a.gguf"], gguf.read_header(BytesSource(layout.header_bytes)))
    assert (facts.base_models, facts.relation, facts.license) == (["org/base"], "quantized", "mit")


@pytest.mark.parametrize(
    ("card", "files", "paths", "base_models", "relation"),
    [
        ("base_model: org/base", {}, (), ["org/base"], "finetune"),
        ("base_model: gpt2", {}, (), ["gpt2"], "finetune"),
        ("base_model: [org/a, org/b]", {}, (), ["org/a", "org/b"], "merge"),
        ("base_model: [org/a, Org/A]", {}, (), ["org/a"], "finetune"),
        ("base_model: org/base", {"adapter_config__json": {"r": 8}}, (), ["org/base"], "adapter"),
        ("base_model: org/base", {}, ("a-Q8_0.gguf",), ["org/base"], "quantized"),
        ("base_model: org/base", {"config__json": {"quantization_config": {}}}, (), ["org/base"], "quantized"),
        ("base_model: org/base\nbase_model_relation: merge", {}, (), ["org/base"], "merge"),
        ("base_model: org/base\nbase_model_relation: nonsense", {}, (), ["org/base"], "finetune"),
        ("base_model: [../../etc/passwd, 'a b/c', 7, /root/x, org/ok]", {}, (), ["org/ok"], "finetune"),
        ("", {"adapter_config__json": {"base_model_name_or_path": "org/base"}}, (), ["org/base"], "adapter"),
        ("", {"adapter_config__json": {"base_model_name_or_path": "base-bf16"}}, (), [], "adapter"),
        ("", {"adapter_config__json": {"base_model_name_or_path": "/home/me/base"}}, (), [], "adapter"),
        ("", {"adapter_config__json": {"base_model_name_or_path": None}}, (), [], "finetune"),
    ],
)  # fmt: skip
def test_parents_and_relation_are_declared_or_inferred_as_the_hub_does(
    card: str, files: dict[str, Any], paths: tuple[str, ...], base_models: list[str], relation: str
) -> None:
    facts = gathered(card, paths, **files)
    assert facts.base_models == base_models
    if base_models:
        assert facts.relation == relation


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("                 Apache License\n           Version 2.0, January 2004", "apache-2.0"),
        ("MIT License\n\nCopyright (c) 2026", "mit"),
        ("Permission is hereby granted, free of charge, to any person obtaining a copy of this", "mit"),
        ("                    GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007", "gpl-3.0"),
        ("Creative Commons Legal Code\n\nCC0 1.0 Universal", "cc0-1.0"),
        ("Our own terms", ""),
    ],
)  # fmt: skip
def test_a_licence_file_is_recognised_when_the_card_says_nothing(text: str, licence: str) -> None:
    facts = gather_facts({"LICENSE": text.encode()}, ["LICENSE"])
    assert facts.license == licence
    assert facts.details.get("license_from", "") == ("LICENSE" if licence else "")


HOSTILE = [
    b"[" * 100_000,
    b"[]",
    b"null",
    b'{"max_position_embeddings": ' + b"9" * 5000 + b"}",
    b'{"max_position_embeddings": 1e400, "architectures": {"a": 1}, "model_type": ["x"], "vocab_size": -1}',
    b'{"hidden_size": "'
    + b"x" * 100_000
    + b'", "architectures": [[[[[1]]]]], "max_position_embeddings": true}',
    b"\xff\xfe\x00",
    b'{"model_type": "a\\u0000b\\ud800"}',
]


@pytest.mark.parametrize("data", HOSTILE)
def test_a_config_made_to_harm_is_passed_over(data: bytes) -> None:
    names = ["config.json", "tokenizer_config.json", "adapter_config.json", "README.md", "LICENSE"]
    facts = gather_facts(dict.fromkeys(names, data), names)
    assert facts.context_length is None
    assert len(json.dumps(facts.details)) < 2_000
    assert "\0" not in facts.architecture


def test_formats_show_in_the_names_of_the_files() -> None:
    assert formats_of(["a/b.safetensors", "x.GGUF", "m.bin", "n.pt", "o.onnx", "README", "c.json"]) == [
        "gguf", "onnx", "pytorch", "safetensors",
    ]  # fmt: skip


def test_papers_that_the_card_links_become_tags() -> None:
    card = b"See https://arxiv.org/abs/2401.01234 and arxiv.org/pdf/2401.01234v2, 2305.1 is none."
    assert gather_facts({"README.md": card}, []).tags == ["arxiv:2401.01234"]
