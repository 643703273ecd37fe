"""Every architecture: a tiny checkpoint becomes what the reference made of it, and llama.cpp computes the right logits.

The checkpoints, the reference converter's files and transformers' logits are in tests/fixtures/architectures.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.formats.gguf import read_header
from conversion.formats.source import BytesSource
from conversion.inference.llamacpp import LlamaCpp
from conversion.naming import family_for, supported
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import in_reference_order, plan_gguf, read_config
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import open_folder
from tests.fixtures.architectures.fixture import FOLDER, Fixture, fixtures
from tests.fixtures.converted.record import describe

ALL = fixtures()
CAUSAL = [fixture for fixture in ALL if (fixture.folder / "logits.npy").is_file()]
QUANTISED: dict[str, dict[str, str]] = json.loads((FOLDER / "quantised.json").read_text())
WHOLE = ("F32", "F16", "BF16")
"""Types that the reference converter lays out; a quantised file of ours is laid out as llama-quantize does it."""

QUANTIZERS_OWN = {"general.file_type"}
"""What llama-quantize states even where the converter's class for the family does not."""

QUERIES = ("attn_q.weight", "attn_qkv.weight", "attn_q_b.weight")

MAX_DEVIATION, MAX_RMS_DEVIATION = 6e-3, 1e-3
"""From transformers' float32, in standard deviations of the logits; the largest of 5000 and their root mean square.
llama.cpp keeps keys and values in F16, which rounds each by up to 2^-11, and that is what we see (RMS 2e-4 to 7e-4).
A wrong conversion is off by about one standard deviation. Weights in MXFP4 are multiplied by activations in Q8_0, which
is as much again, and latent attention caches the sum of all heads (1e-3); such a fixture says so by
`times_the_deviation`."""

Convert = Callable[[Fixture, str], bytes]


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """`convert(fixture, "F16")` is the whole GGUF; a checkpoint is written once, a file made once."""
    parent = tmp_path_factory.mktemp("architectures")
    made: dict[tuple[str, str], bytes] = {}

    def make(fixture: Fixture, name: str) -> bytes:
        if (fixture.name, name) not in made:
            folder = parent / fixture.name
            checkpoint = open_folder(folder if folder.is_dir() else fixture.write(parent))
            plan = plan_gguf(in_reference_order(checkpoint), folder, FILE_TYPES[name])
            made[fixture.name, name] = b"".join(piece.data for piece in file_pieces(plan, checkpoint))
        return made[fixture.name, name]

    return make


@pytest.fixture(scope="module")
def llama_cpp() -> LlamaCpp:
    return LlamaCpp(threads=1)


def recorded(reference: dict[str, Any], name: str) -> dict[str, Any]:
    """What `describe` says of the reference converter's file of that type."""
    tensors = {
        tensor: [told[name][0], told["shape"], told[name][1]] for tensor, told in reference["tensors"].items()
    }
    return {"metadata": reference["metadata"] | reference["changes"][name], "tensors": tensors}


@pytest.mark.parametrize("fixture", ALL, ids=lambda fixture: fixture.name)
def test_every_tensor_and_every_key_equals_the_reference_converters(
    convert: Convert, fixture: Fixture
) -> None:
    reference, differs = fixture.reference, fixture.model.get("differs", {})
    for name in (*WHOLE, "Q8_0"):
        data = convert(fixture, name)
        made, expected = describe(BytesSource(data)), recorded(reference, name)
        unequal = {key for key, value in expected["metadata"].items() if made["metadata"].get(key) != value}
        assert unequal == set(differs), name
        further = made["metadata"].keys() - expected["metadata"].keys()
        assert further <= (set() if name in WHOLE else QUANTIZERS_OWN), name
        assert [told[::2] for told in made["tensors"].values()] == [
            expected["tensors"][tensor][::2] for tensor in made["tensors"]
        ], name
        assert made["tensors"].keys() == expected["tensors"].keys(), name
        if name in WHOLE:
            assert made["tensors"] == expected["tensors"], name
            assert list(made["metadata"]) == list(expected["metadata"]), f"{name}: keys in another order"
            assert list(made["tensors"]) == list(expected["tensors"]), f"{name}: tensors in another order"
            assert differs or hashlib.sha256(data).hexdigest() == reference["sha256"][name]


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_file_is_the_one_that_llama_quantize_makes(convert: Convert, name: str) -> None:
    for kind, digest in QUANTISED[name].items():
        assert hashlib.sha256(convert(Fixture(name), kind)).hexdigest() == digest, kind


def deviation(llama_cpp: LlamaCpp, path: Path, fixture: Fixture) -> np.ndarray:
    """Of llama.cpp's logits from transformers', in standard deviations of the latter."""
    ids, expected = fixture.reference["ids"], fixture.logits
    model = llama_cpp.load(str(path))
    assert model.tokenize(fixture.reference["text"], special=True) == ids
    rows = model.logits(ids, first=len(ids) - len(expected), extend=False)
    return (np.frombuffer(rows, dtype=np.float32).reshape(expected.shape) - expected) / expected.std()


@pytest.mark.parametrize("fixture", CAUSAL, ids=lambda fixture: fixture.name)
def test_llama_cpp_splits_the_text_and_computes_the_logits_as_transformers_does(
    convert: Convert, llama_cpp: LlamaCpp, tmp_path: Path, fixture: Fixture
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(convert(fixture, "F32"))
    found = deviation(llama_cpp, path, fixture)
    allowed = fixture.model.get("times_the_deviation", 1)
    assert float(np.abs(found).max()) < MAX_DEVIATION * allowed
    assert float(np.sqrt(np.mean(found**2))) < MAX_RMS_DEVIATION * allowed


@pytest.mark.parametrize("fixture", CAUSAL, ids=lambda fixture: fixture.name)
def test_one_tensor_with_its_rows_in_another_order_would_be_noticed(
    convert: Convert, llama_cpp: LlamaCpp, tmp_path: Path, fixture: Fixture
) -> None:
    """The last layer's queries and keys matter in every fixture: its logits are a proof of them, too."""
    data = bytearray(convert(fixture, "F32"))
    entries = read_header(BytesSource(bytes(data))).entries
    entry = [each for each in entries if each.name.endswith(QUERIES)][-1]
    rows = np.frombuffer(data, np.float32, entry.n_elements, entry.start).reshape(entry.shape)
    data[entry.start : entry.end] = rows[::-1].tobytes()
    (tmp_path / "model.gguf").write_bytes(data)
    found = deviation(llama_cpp, tmp_path / "model.gguf", fixture)
    assert float(np.sqrt(np.mean(found**2))) > 10 * MAX_RMS_DEVIATION


def test_every_family_has_a_fixture(tmp_path: Path) -> None:
    proven = {family_for(read_config(fixture.folder)).gguf_architecture for fixture in ALL}
    families = {family_for({"architectures": [name]}).gguf_architecture for name in supported()}
    assert families <= proven


def test_every_architecture_and_every_refusal_is_on_its_page() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs/formats/architectures.md").read_text()
    assert [name for name in supported() if name not in page] == []
    naming = root / "conversion/naming"
    families = [path for path in naming.glob("*.py") if "Family(" in path.read_text()]
    shared = [
        naming / f"{name}.py" for name in ("defaults", "experts", "general", "hyperparameters", "renaming")
    ]
    sources = "".join(
        path.read_text() for path in [*families, *shared, *(naming / "vocabulary").glob("*.py")]
    )
    raised = set(re.findall(r'(?:NamingError|super\(\).__init__)\(\s*"([a-z-]+)"', sources))
    assert len(raised) > 10
    assert raised <= set(re.findall(r"`([a-z-]+)`", page))
