"""What is run where memory or time is short, and that the verdict says so."""

import functools

import pytest

from conversion.formats.gguf.cut import plan_first_layers
from conversion.formats.gguf.splitting import copied
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.opening import open_weights
from conversion.formats.source import FileSource
from conversion.inference.judge import Reference, judge
from conversion.inference.layers import unwritten_gguf
from conversion.inference.memory import available_memory
from conversion.inference.parents import planned_tensors
from conversion.inference.readings import Reading, make_reading
from tests.conversion.inference.ggufs import BASE, convert, with_metadata
from tests.fixtures.architectures.fixture import Fixture

STREAMS, CUTS, NOTHING = 30_000_000, 9_000_000, 4_000_000
"""Bytes for the sample family: the F32 parent has 9.2 MB, a window of text is counted as 10."""


@functools.cache
def base_tensors():
    source = FileSource(BASE / "model.safetensors")  # open as long as the tests run
    return planned_tensors(open_weights({"model.safetensors": source}), BASE)


@pytest.fixture
def parent(converted):
    return Reference("llama.cpp", converted("F32"), frozenset({"F32"}), {"reference": "F32"})


def test_an_artifact_that_does_not_fit_is_streamed_and_says_so(converted, parent):
    report = judge(converted("F32"), parent, memory_bytes=STREAMS)
    assert (report.verdict, report.level, report.figures.mean_kld) == ("verified", "", 0)
    assert report.parent["streamed"]
    assert report.samples == []  # every token would be a read of the whole file
    assert report.checks["load"].summary.startswith("loads, streamed layer by layer: llama")


def test_the_first_layers_are_partial_with_their_number(converted, parent):
    report = judge(converted("Q4_0"), parent, memory_bytes=CUTS)
    assert (report.verdict, report.level) == ("partial", "first 2 of 3 layers")
    assert report.reason.startswith("partial (first 2 of 3 layers): as far as it ran, mean KLD 0.00")
    assert report.as_json()["level"] == "first 2 of 3 layers"
    assert report.checks["fidelity"].value["n_positions"] == 1524


def test_a_parent_in_a_checkpoint_is_cut_without_being_written(converted):
    beside = Reference("transformers", BASE, tensors=base_tensors())
    report = judge(converted("Q4_0"), beside, memory_bytes=CUTS)
    assert report.level == "first 2 of 3 layers"
    assert report.checks["fidelity"].verdict == "pass"
    assert report.figures.mean_kld > 0


def test_the_cut_of_an_unwritten_parent_has_the_bytes_of_the_cut_of_its_gguf(converted):
    with FileSource(converted("F32")) as source:
        written = open_gguf({"parent.gguf": source})
        expected = b"".join(copied(written, plan_first_layers(written, 2)))
    unwritten = unwritten_gguf(base_tensors())
    assert b"".join(copied(unwritten, plan_first_layers(unwritten, 2))) == expected


def test_where_no_layer_fits_the_tensors_were_judged_all_the_same(converted, parent):
    report = judge(converted("Q4_0"), parent, memory_bytes=NOTHING)
    assert (report.verdict, report.checks["tensors"].verdict) == ("partial", "pass")
    assert report.reason.startswith("it does not fit into this worker's memory")


def test_where_time_is_short_the_first_layer_speaks(converted):
    report = judge(converted("Q4_0"), max_seconds=0.3)
    assert (report.verdict, report.level) == ("partial", "first 1 of 3 layers")


def test_an_architecture_that_needs_all_its_layers_is_not_called_damaged(tmp_path):
    path = convert(Fixture("deepseek-v2-lite-tiny").write(tmp_path), "F16", tmp_path / "lite.gguf")
    report = judge(path, max_seconds=1e-6)
    assert report.verdict == "partial"
    assert "its first 1 of" in report.reason
    assert "do not run alone" in report.reason


def test_a_header_that_claims_too_much_does_not_make_a_small_file_large(converted, tmp_path):
    """Else absurd metadata would be called too large for this machine, and not damaged."""
    path = with_metadata(converted("Q4_0"), tmp_path / "absurd.gguf", "llama.attention.head_count", 2**31)
    report = judge(path)
    assert (report.verdict, report.level) == ("damaged", "")


def test_some_memory_is_available_and_not_all_of_it():
    assert 2**20 < available_memory() < 2**50


def test_a_streamed_parent_leaves_a_reading_without_samples(converted, parent):
    reading = make_reading(parent, {"f32": "0" * 64}, memory_bytes=15_000_000)
    assert Reading.from_bytes(reading.to_bytes()).sha256 == reading.sha256
    assert reading.samples == ()
    assert len(reading.said.right) == sum(window.n_scored for window in reading.windows) > 2000
