"""Whatever a repo's small files say, planning ends in a plan or in a NamingError; never in anything else."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversion.formats.layout import TensorEntry
from conversion.naming import NamingError, family_for
from conversion.naming.collecting import new_collector
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import plan_gguf
from conversion.naming.vocabulary import describe_vocabulary
from tests.conversion.naming.models import SAMPLES, TOKENIZER, config, shapes
from tests.fixtures.architectures.fixture import Fixture, fixtures

ENTRIES = {name: TensorEntry(name, "F32", shape, 0, 0) for name, shape in shapes(config()).items()}

words = st.text(max_size=12) | st.sampled_from(
    ["org/name", "https://huggingface.co/a/b", "7B", "-", "\ud800"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=3), max_leaves=6
)
few = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def keyed(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys), values, max_size=4)


@contextmanager
def at_worst_refused() -> Iterator[None]:
    """Both ends are good: it works, or it is refused with a code and a sentence of bearable length."""
    refusal: NamingError | None = None
    try:
        yield
    except NamingError as error:
        refusal = error
    assert refusal is None or (refusal.code and len(str(refusal)) < 2000)


def plan_or_refuse(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "some-model"
        folder.mkdir()
        for name in TOKENIZER:
            (folder / name).write_bytes((SAMPLES / "base-f32" / name).read_bytes())
        (folder / "config.json").write_text(json.dumps(config()))
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with at_worst_refused():
            plan_gguf(ENTRIES, folder, FILE_TYPES["Q8_0"])


@few
@given(card=keyed("license", "license_name", "tags", "pipeline_tag", "language", "base_model", "datasets", "name",
                  "model_name", "author", "version", "model_creator", "model_type", "quantized_by"))  # fmt: skip
def test_any_front_matter(card: dict[str, Any]) -> None:
    try:
        text = yaml.safe_dump(card, allow_unicode=False)
    except (yaml.YAMLError, UnicodeEncodeError):
        return
    plan_or_refuse({"README.md": f"---\n{text}---\n# A card\n".encode()})


@few
@given(text=st.text(max_size=60))
def test_any_text_as_front_matter(text: str) -> None:
    plan_or_refuse({"README.md": f"---\n{text}\n---\n".encode(errors="surrogatepass")})


@few
@given(
    changes=keyed(*config(), "head_dim", "rope_scaling", "rope_parameters", "_name_or_path", "bos_token_id")
)
def test_any_config(changes: dict[str, Any]) -> None:
    plan_or_refuse({"config.json": json.dumps(config() | changes).encode()})


@few
@given(
    fixture=st.sampled_from(fixtures()),
    changes=keyed("architectures", "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
                  "head_dim", "vocab_size", "intermediate_size", "max_position_embeddings", "rope_parameters",
                  "rope_scaling", "rope_theta", "layer_types", "sliding_window", "num_experts", "num_local_experts",
                  "num_experts_per_tok", "moe_intermediate_size", "partial_rotary_factor", "no_rope_layers", "clip_qkv",
                  "text_config", "scoring_func", "logits_scaling", "shared_intermediate_size", "rms_norm_eps"),
)  # fmt: skip
def test_any_config_of_any_family(fixture: Fixture, changes: dict[str, Any]) -> None:
    """Targets and keys alone: tokenizers have their own tests."""
    settings = json.loads((fixture.folder / "config.json").read_text()) | changes
    shapes_of = {name: shape for name, _, shape in fixture.tensors}
    with at_worst_refused():
        family = family_for(settings)
        family.targets(settings, shapes_of)
        family.describe(settings, 0, new_collector(family.gguf_architecture))


@few
@given(post=values, normalizer=values, added=values, model=values, settings=values)
def test_any_tokenizer_json(post: Any, normalizer: Any, added: Any, model: Any, settings: Any) -> None:
    template = {"type": "TemplateProcessing", "single": post, "pair": added}
    byte_fallback = {"type": "BPE", "byte_fallback": True, "vocab": model, "merges": added}
    for tokenizer in (
        {"post_processor": post, "normalizer": normalizer, "added_tokens": added, "model": model},
        {
            "post_processor": template,
            "added_tokens": added,
            "model": {"type": "BPE", "vocab": {}, "merges": []},
        },
        {
            "normalizer": {"type": "Prepend", "content": "\u2581"},
            "model": byte_fallback,
            "added_tokens": post,
        },
    ):
        with tempfile.TemporaryDirectory() as made:
            (Path(made) / "tokenizer.json").write_text(json.dumps(tokenizer))
            (Path(made) / "tokenizer_config.json").write_text(json.dumps(settings))
            with at_worst_refused():
                describe_vocabulary(config(), Path(made), new_collector("llama"))


@few
@given(
    said=keyed("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "penalty_repeat", "sequence")
)
def test_any_generation_config(said: dict[str, Any]) -> None:
    plan_or_refuse({"generation_config.json": json.dumps(said).encode()})


@few
@given(said=keyed("bos_token", "eos_token", "add_bos_token", "chat_template", "added_tokens_decoder",
                  "add_prefix_space"))  # fmt: skip
def test_any_tokenizer_config(said: dict[str, Any]) -> None:
    plan_or_refuse({"tokenizer_config.json": json.dumps(said).encode()})


@few
@given(said=st.dictionaries(words, values, max_size=3))
def test_any_added_tokens(said: dict[str, Any]) -> None:
    plan_or_refuse({"added_tokens.json": json.dumps(said).encode()})


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "generation_config.json", "added_tokens.json"]
)
@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"null", b"{", b"\xff\xfe", b"[" * 200_000])
def test_files_that_are_not_what_they_should_be(name: str, data: bytes) -> None:
    plan_or_refuse({name: data})


def test_a_number_that_no_float32_holds_is_refused() -> None:
    plan_or_refuse({"generation_config.json": b'{"temperature": 3.4028235677973366e+38}'})
