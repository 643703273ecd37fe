"""Embedding models: quants have their parents' vectors, planted faults have not, a checkpoint is run as what it is."""

from pathlib import Path

import numpy as np
import pytest

from conversion.formats.gguf import plan_file, uint32
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.layout import stream_file
from conversion.formats.source import FileSource
from conversion.formats.weights import n_rows
from conversion.inference.judge import Reference, judge
from conversion.inference.own_gguf import write_gguf
from conversion.inference.sandbox import Sandbox
from conversion.inference.subjects import recognise
from tests.conversion.inference.ggufs import header_of, patched, with_zeros
from tests.fixtures.architectures.fixture import Fixture

FIXTURE = Fixture("bert-tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FIXTURE.write(tmp_path_factory.mktemp("embedding"))


@pytest.fixture(scope="module")
def q8_0(folder: Path) -> Path:
    return write_gguf(folder, folder.parent / "Q8_0.gguf", file_type="Q8_0")


def test_a_quant_has_the_vectors_of_the_checkpoint_that_it_was_made_of(folder: Path, q8_0: Path) -> None:
    report = judge(q8_0, Reference("llama.cpp", folder, frozenset({"F32"})))
    assert report.verdict == "verified", report.reason
    assert (report.subject.kind, report.limits_class) == ("embedding", "8 bit")
    assert report.artifact["pooling"] == "mean"
    assert report.checks["fidelity"].value["mean_cosine"] > 0.9999
    assert report.checks["fidelity"].value["n_sentences"] == 100
    assert report.checks["forward"].value["width"] == 64


def test_a_zeroed_layer_is_damage_even_without_a_parent(q8_0: Path, tmp_path: Path) -> None:
    report = judge(with_zeros(q8_0, tmp_path / "zero.gguf", "blk.1."))
    assert report.verdict == "damaged"
    assert report.checks["forward"].code == "vectors-zero"


def test_rows_in_another_order_are_not_the_parents_vectors(q8_0: Path, tmp_path: Path) -> None:
    entry = next(one for one in header_of(q8_0).entries if one.name == "blk.0.ffn_up.weight")
    rows = np.frombuffer(q8_0.read_bytes()[entry.start : entry.end], np.uint8).reshape(entry.shape[0], -1)
    path = patched(q8_0, tmp_path / "rows.gguf", {entry.start: rows[::-1].tobytes()})
    report = judge(path, Reference("llama.cpp", q8_0, frozenset({"F32"})))
    assert report.verdict == "damaged"
    assert report.checks["fidelity"].code == "too-far-from-parent"
    assert "mean cosine is 0.7" in report.reason


def as_reranker(path: Path, ranking: Path) -> Path:
    """A copy that says its classifier's scores are wanted, as llama.cpp's rerankers do."""
    with FileSource(path) as source:
        weights = open_gguf({path.name: source})
        metadata = weights.read_metadata() | {"bert.pooling_type": uint32(4)}
        layout = plan_file(metadata, [(one.name, one.shape, one.dtype) for one in weights.entries.values()])
        pieces = [(name, [weights.read_rows(name, 0, n_rows(one))]) for name, one in weights.entries.items()]
        ranking.write_bytes(b"".join(stream_file(layout, pieces)))
    return ranking


def test_a_reranker_is_judged_by_its_scores(tmp_path: Path) -> None:
    folder = Fixture("bert-classes-tiny").write(tmp_path)
    parent, quant = (
        as_reranker(write_gguf(folder, tmp_path / name, file_type=name), tmp_path / f"{name}.gguf")
        for name in ("F32", "Q8_0")
    )
    report = judge(quant, Reference("llama.cpp", parent, frozenset({"F32"})))
    assert report.verdict == "verified", report.reason
    assert report.artifact["pooling"] == "rank"
    assert report.reason.startswith("scores what its parent scores: rank correlation 0.99")


def test_an_embedding_model_is_recognised_whatever_contains_it(
    folder: Path, q8_0: Path, tmp_path: Path
) -> None:
    assert (recognise(q8_0).kind, recognise(folder).kind) == ("embedding", "embedding")
    decoder = Fixture("qwen3-embedding-tiny").write(tmp_path)
    assert recognise(write_gguf(decoder, tmp_path / "last.gguf")).kind == "embedding"


def test_vectors_are_pooled_as_the_checkpoint_says(
    folder: Path,
) -> None:
    made = write_gguf(folder, folder.parent / "F32.gguf")
    with Sandbox("llama.cpp", made) as model:
        found, pooling = model.embed(FIXTURE.reference["ids"])
    expected = FIXTURE.embeddings.mean(axis=0)
    assert pooling == "mean"
    assert float(np.abs(found[0] - expected).max() / FIXTURE.embeddings.std()) < 2e-3


@pytest.mark.torch
def test_transformers_gives_the_same_vectors_in_the_sandbox(folder: Path) -> None:
    pytest.importorskip("torch")
    with Sandbox("transformers embeddings", folder) as model:
        found, pooling = model.embed(FIXTURE.reference["ids"])
    assert (pooling, model.report.name) == ("mean", "transformers")
    np.testing.assert_allclose(found[0], FIXTURE.embeddings.mean(axis=0), atol=1e-5)
