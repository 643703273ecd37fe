"""Headers beyond safetensors and GGUF: PyTorch's pickles, never run, and llama2.c's numbers."""

from pathlib import Path

import pytest
from django.test import Client

from conversion.formats.source import BytesSource
from conversion.headers import format_of, may_have_header, read_blob
from registry.models import Event, Header, Tensor
from tests.checkpoints import record_commit
from tests.conversion.test_inspection import inspect
from tests.fixtures.hostile import pytorch as hostile

FIXTURES = Path(__file__).parents[1] / "fixtures"
PICKLES, LLAMA2C = FIXTURES / "pickles", FIXTURES / "llama2c"


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("pytorch_model.bin", (PICKLES / "state-dict.pt").read_bytes(), "pytorch"),
        ("old.ckpt", (PICKLES / "kinds-legacy.pt").read_bytes(), "pytorch"),
        ("stories260K.bin", (LLAMA2C / "stories260K.bin").read_bytes(), "llama2c"),
        ("model.pt", (LLAMA2C / "untied-v1.bin").read_bytes(), "llama2c"),
        ("evil.bin", b"\x80\x04cos\nsystem\n", "pytorch"),
        ("weights.pth", b"no pickle at all", "pytorch"),
        ("tok512.bin", (LLAMA2C / "tok512.bin").read_bytes(), None),
        ("onnx_data.bin", bytes(4096), None),
        ("training_args.bin", (PICKLES / "state-dict.pt").read_bytes(), None),
        ("sub/optimizer.pt", (PICKLES / "state-dict.pt").read_bytes(), None),
        ("notes.txt", b"\x80\x04", None),
    ],
)
def test_a_file_has_the_format_of_its_bytes_or_of_a_name_that_means_one(
    path: str, data: bytes, expected: str | None
) -> None:
    assert format_of(path, BytesSource(data)) == expected
    assert expected is None or may_have_header(path)


@pytest.mark.one_backend
def test_a_group_of_int8_is_listed_as_it_is_stored() -> None:
    data = (LLAMA2C / "untied-v2.bin").read_bytes()
    reading = read_blob(BytesSource(data), "llama2c")
    by_name = {entry.name: entry for entry in reading.entries}
    matrix, norm = by_name["model.layers.0.self_attn.q_proj.weight"], by_name["model.norm.weight"]
    assert (matrix.dtype, norm.dtype, norm.length) == ("I8", "F32", 4 * norm.n_elements)
    assert matrix.n_elements < matrix.length < 2 * matrix.n_elements, "values, then a scale a group"
    assert max(entry.end for entry in reading.entries) == len(data)
    assert reading.metadata == {"llama2c.version": "2"}


@pytest.mark.django_db(transaction=True)
def test_tensors_of_a_pickle_are_listed_and_shown(client: Client) -> None:
    data = (PICKLES / "state-dict.pt").read_bytes()
    commit = record_commit("tiny/pickle", {"pytorch_model.bin": data, "training_args.bin": b"\x80\x04."})
    job = inspect(commit)
    header = Header.objects.get()
    assert (job.state, header.format, header.error_code) == ("succeeded", "pytorch", "")
    assert header.n_tensors == Tensor.objects.count() == commit.facts["n_tensors"] > 0
    assert sum(commit.facts["parameters"].values()) == commit.parameter_count == header.parameter_count
    page = client.get("/tiny/pickle/tensors/main/pytorch_model.bin")
    assert page.status_code == 200
    assert Tensor.objects.first().name in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_shards_of_pickles_count_as_one_checkpoint() -> None:
    data = (PICKLES / "state-dict.pt").read_bytes()
    other = (PICKLES / "kinds.pt").read_bytes()
    names = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    commit = record_commit("tiny/shards", dict(zip(names, (data, other), strict=True)))
    inspect(commit)
    assert commit.facts["n_tensors"] == sum(header.n_tensors for header in Header.objects.all())
    assert Header.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", ["calls os.system", "code in a legacy file", "code before the magic number"])
def test_a_hostile_pickle_is_labelled_with_its_code_and_kept(case: str) -> None:
    code, data = hostile.CASES[case]
    commit = record_commit("evil/pickle", {"pytorch_model.bin": data})
    job = inspect(commit)
    header = Header.objects.get()
    assert (job.state, job.result["n_refused"]) == ("succeeded", 1)
    assert (header.format, header.error_code, header.n_tensors) == ("pytorch", code, 0)
    assert Event.objects.get(outcome="failure").detail["code"] == code
    assert commit.parameter_count is None
