"""What an artifact is compared with, when its parent is itself a GGUF."""

from pathlib import Path

import pytest

from conversion.formats.gguf import read_header
from conversion.formats.source import FileSource
from conversion.reference import open_parent
from mirror.store import blob_store
from tests.checkpoints import record_commit
from tests.conversion.inference.conftest import Converted

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("kind", "types", "says"),
    [("F16", {"F16"}, "model.gguf of the same commit"), ("Q8_0", {"F32"}, "our F32 GGUF of the same commit")],
)
def test_a_gguf_runs_as_it_is_or_as_the_numbers_it_stands_for(
    converted: Converted, tmp_path: Path, kind: str, types: set[str], says: str
) -> None:
    commit = record_commit("acme/model", {"model.gguf": converted(kind)})
    reference = open_parent(blob_store(), commit, tmp_path).build(lambda n_bytes: None)
    assert (reference.engine, reference.dtypes) == ("llama.cpp", frozenset(types))
    assert reference.facts["reference"].startswith(says)
    with FileSource(reference.path) as source:
        assert {entry.dtype for entry in read_header(source).entries if len(entry.shape) > 1} == types
