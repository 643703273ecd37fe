"""The sample family's base, converted: byte for byte the files that llama.cpp's own programs made of it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from conversion.formats.gguf import read_header, read_value
from conversion.formats.source import BytesSource
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import in_reference_order, plan_gguf
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import SAMPLES, config, open_folder, write_checkpoint
from tests.conversion.naming.variants import VARIANTS
from tests.fixtures.converted.record import FOLDER, describe

RECORDED = ("F32", "F16", "BF16", "Q8_0", "Q4_0")
PUBLISHED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.model",
    "tokenizer_config.json",
)
"""What the sample's authors published and the reference converted; the card beside it was written later, for us."""


def linked(folder: Path) -> Path:
    folder.mkdir()
    for name in PUBLISHED:
        (folder / name).symlink_to(SAMPLES / "base-f32" / name)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return linked(tmp_path / "base-f32")


def convert(folder: Path, name: str) -> bytes:
    checkpoint = open_folder(folder)
    plan = plan_gguf(in_reference_order(checkpoint), folder, FILE_TYPES[name])
    return b"".join(piece.data for piece in file_pieces(plan, checkpoint))


def recorded(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"base-{name}.json").read_text())


@pytest.mark.parametrize("name", RECORDED)
def test_tensors_and_metadata_equal_the_reference(base: Path, name: str) -> None:
    """F32, F16, BF16: the reference converter. Q8_0, Q4_0: llama-quantize of its F32."""
    made, expected = describe(BytesSource(convert(base, name))), recorded(name)
    assert made["tensors"] == expected["tensors"]
    assert list(made["tensors"]) == list(expected["tensors"]), "tensors are in another order"
    assert made["metadata"] == expected["metadata"]
    assert list(made["metadata"]) == list(expected["metadata"]), "keys are in another order"


@pytest.mark.parametrize("name", RECORDED)
def test_the_whole_file_equals_the_reference_byte_for_byte(base: Path, name: str) -> None:
    assert hashlib.sha256(convert(base, name)).hexdigest() == recorded(name)["sha256"]


@pytest.mark.parametrize("name", RECORDED)
def test_converting_twice_gives_the_same_bytes(base: Path, name: str) -> None:
    assert convert(base, name) == convert(base, name)


def test_only_names_differ_when_the_folder_has_another_name(tmp_path: Path) -> None:
    other = linked(tmp_path / "another-name")
    source = BytesSource(convert(other, "Q8_0"))
    expected = recorded("Q8_0")
    made = describe(source)
    assert read_value(source, read_header(source).metadata["general.name"]).value == "Another Name"
    assert made["tensors"] == expected["tensors"]
    differing = {key for key in made["metadata"] if made["metadata"][key] != expected["metadata"].get(key)}
    assert differing <= {"general.name", "general.basename", "general.finetune"}


def test_a_bf16_release_is_converted_without_loss() -> None:
    """The release is the base rounded to BF16; so what is BF16 in the file is the same from either."""
    release = describe(BytesSource(convert(SAMPLES / "base-bf16", "BF16")))["tensors"]
    expected = recorded("BF16")["tensors"]
    matrices = {name for name, (kind, *_) in expected.items() if kind == "BF16"}
    assert len(matrices) == 23
    assert {name: release[name] for name in matrices} == {name: expected[name] for name in matrices}


def test_a_card_beside_the_weights_adds_what_it_says(base: Path) -> None:
    (base / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Base\n")
    made = describe(BytesSource(convert(base, "Q8_0")))["metadata"]
    assert made.keys() - recorded("Q8_0")["metadata"].keys() == {"general.license"}


def test_tensors_follow_file_by_file_each_by_name_as_the_reference_meets_them(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m", config(), shards=2)
    checkpoint = open_folder(tmp_path / "m")
    names = list(in_reference_order(checkpoint))
    assert names != list(checkpoint.entries)
    first = [name for name in names if checkpoint.path_of[name] == "model-00001-of-00002.safetensors"]
    assert names == first + sorted(set(names) - set(first))
    assert first == sorted(first)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_the_family_equal_the_reference_byte_for_byte(tmp_path: Path, name: str) -> None:
    VARIANTS[name](tmp_path / name)
    expected = json.loads((FOLDER / f"{name}-F16.json").read_text())
    data = convert(tmp_path / name, "F16")
    made = describe(BytesSource(data))
    assert list(made["metadata"].items()) == list(expected["metadata"].items())
    assert list(made["tensors"].items()) == list(expected["tensors"].items())
    assert hashlib.sha256(data).hexdigest() == expected["sha256"]
