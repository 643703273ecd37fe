"""Whatever a repo's small files say, planning ends in a plan or in a NamingError; never in anything else."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversion.formats.layout import TensorEntry
from conversion.naming import NamingError
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import plan_gguf
from tests.conversion.naming.models import SAMPLES, TOKENIZER, config, shapes

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


def plan_or_refuse(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "some-model"
        folder.mkdir()
        for name in TOKENIZER:
            (folder / name).write_bytes((SAMPLES / "base-f32" / name).read_bytes())
        (folder / "config.json").write_text(json.dumps(config()))
        for name, data in files.items():
            (folder / name).write_bytes(data)
        try:
            plan_gguf(ENTRIES, folder, FILE_TYPES["Q8_0"])
        except NamingError as error:
            assert error.code  # noqa: PT017  # refusing is one of the two good ends
            assert len(str(error)) < 2000  # noqa: PT017


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
