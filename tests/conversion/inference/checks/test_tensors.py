"""Planted faults in files of the sample family: each is found from the tensors alone, named, and told apart."""

import functools
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from conversion.formats.gguf.cut import plan_first_layers
from conversion.formats.gguf.splitting import copied
from conversion.formats.opening import open_weights
from conversion.formats.source import FileSource
from conversion.inference.checks.tensors import check_tensors
from conversion.inference.checks.trial import Reference, Trial
from conversion.inference.parents import planned_tensors, stored_tensors, tensors_at
from conversion.inference.report import Report
from conversion.inference.subjects import look_at, subject_of
from tests.conversion.inference.ggufs import BASE, SAMPLES, header_of, patched, with_nan, with_zeros

GENTLE = "ft-gentle-bf16"


@functools.cache
def parent_of(folder: Path):
    """The checkpoint in `folder`, under a GGUF's names; its file stays open as long as the tests run."""
    sources = {file.name: FileSource(file) for file in folder.iterdir() if file.suffix == ".safetensors"}
    return planned_tensors(open_weights(sources), folder)


def checked(path, parent=None, **said):
    with ExitStack() as stack:
        reference = Reference("llama.cpp", path, tensors=parent, **said) if parent else None
        report = Report(artifact={})
        trial = Trial(report, path, reference, None, 1, lambda phase, share: None, stack)
        trial.look = look_at(path, stack)
        trial.subject = subject_of(trial.look)
        check_tensors(trial)
    return report.checks["tensors"]


def entry_of(path, name):
    return next(entry for entry in header_of(path).entries if entry.name == name)


def bytes_of(path, name):
    entry = entry_of(path, name)
    return path.read_bytes()[entry.start : entry.end]


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K_M", "Q2_K", "TQ2_0"])
def test_what_we_convert_has_the_bytes_that_we_make(converted, type_name):
    check = checked(converted(type_name), parent_of(BASE), is_plain=True)
    assert check.verdict == "pass", check.summary
    assert "none farther from the parent's than 1.00 times" in check.summary
    assert check.value["parent"]["share_as_ours"] == 1
    assert len(check.value["table"]["rows"]) == 30


def test_the_parents_rows_are_those_of_its_f32_gguf(converted):
    """Also those whose order within a head is another one, asked for one by one."""
    parent, path = parent_of(BASE), converted("F32")
    for entry in header_of(path).entries:
        rows = np.frombuffer(bytes_of(path, entry.name), np.float32).reshape(-1, entry.shape[-1])
        for first in {0, len(rows) // 3, len(rows) - 1}:
            assert np.array_equal(parent.rows(entry.name, first, 1), rows[first : first + 1]), entry.name


def test_a_nan_is_counted_and_named(converted, tmp_path):
    check = checked(with_nan(converted("Q8_0"), tmp_path / "nan.gguf", "blk.1.ffn_up.weight"))
    assert (check.verdict, check.code) == ("fail", "tensor-not-finite")
    assert check.summary == "blk.1.ffn_up.weight: NaN at 32 of 131,072 values"


def test_a_layer_of_zeros_fails_beside_its_parent_and_warns_alone(converted, tmp_path):
    path = with_zeros(converted("Q8_0"), tmp_path / "zero.gguf", "blk.1.")
    alone, beside = checked(path), checked(path, parent_of(BASE))
    assert (alone.verdict, beside.verdict, beside.code) == ("warn", "fail", "tensor-zero")
    assert beside.summary.startswith("blk.1.attn_k.weight: nothing but zeros, but the parent's is not")
    assert beside.value["n_findings"] == 9


def test_rows_in_another_order_are_found_where_they_came_from(converted, tmp_path):
    original = converted("Q8_0")
    rows = np.frombuffer(bytes_of(original, "blk.0.ffn_up.weight"), np.uint8).reshape(512, -1)
    start = entry_of(original, "blk.0.ffn_up.weight").start
    check = checked(patched(original, tmp_path / "rows.gguf", {start: rows[::-1].tobytes()}), parent_of(BASE))
    assert (check.verdict, check.code) == ("fail", "rows-exchanged")
    assert check.summary == (
        "blk.0.ffn_up.weight: its rows are in another order: row 0 is row 511 of the parent's"
    )


def test_two_exchanged_rows_among_many_are_found(converted, tmp_path):
    original = converted("Q2_K")
    rows = np.frombuffer(bytes_of(original, "token_embd.weight"), np.uint8).reshape(1024, -1).copy()
    rows[[300, 301]] = rows[[301, 300]]
    start = entry_of(original, "token_embd.weight").start
    check = checked(patched(original, tmp_path / "two.gguf", {start: rows.tobytes()}), parent_of(BASE))
    # Makers repair tokens that were never trained: a few rows of an embedding are not a failure.
    assert (check.verdict, check.value["findings"][0]["code"]) == ("warn", "rows-lost")
    assert check.value["findings"][0]["says"] == "2 of 1,024 rows are not the parent's"


def test_layers_that_changed_places_are_named(converted, tmp_path):
    original = converted("Q4_0")
    first, second = "blk.0.ffn_up.weight", "blk.2.ffn_up.weight"
    swapped = {
        entry_of(original, a).start: bytes_of(original, b) for a, b in ((first, second), (second, first))
    }
    check = checked(patched(original, tmp_path / "swapped.gguf", swapped), parent_of(BASE))
    assert [finding["says"] for finding in check.value["findings"]] == [
        f"it holds the rows of {second}", f"it holds the rows of {first}",
    ]  # fmt: skip


def test_a_gentle_fine_tune_is_too_far_at_eight_bits_and_not_plain_at_four(converted):
    eight = checked(converted("Q8_0", GENTLE), parent_of(BASE))
    assert (eight.verdict, eight.code) == ("fail", "tensor-too-far")
    assert "times as far from the parent's as Q8_0 costs" in eight.summary
    four = checked(converted("Q4_0", GENTLE), parent_of(BASE))
    assert (four.verdict, four.value["findings"][0]["code"]) == ("warn", "not-plain")
    assert checked(converted("Q4_0", GENTLE), parent_of(SAMPLES / GENTLE)).verdict == "pass"


def test_of_a_fine_tune_that_says_so_the_distance_is_told_and_not_judged(converted):
    check = checked(converted("Q8_0", GENTLE), parent_of(BASE), relation="finetune")
    assert (check.verdict, check.value["findings"]) == ("pass", [])
    assert check.value["parent"]["share_as_ours"] < 0.8


def test_one_other_byte_is_not_what_we_make(converted, tmp_path):
    original = converted("Q8_0")
    entry = entry_of(original, "blk.0.attn_q.weight")
    byte = original.read_bytes()[entry.start + 7]
    path = patched(original, tmp_path / "byte.gguf", {entry.start + 7: bytes([byte ^ 1])})
    assert checked(path, parent_of(BASE)).verdict == "pass"
    assert checked(path, parent_of(BASE), is_plain=True).code == "not-reproduced"


def test_safetensors_are_compared_under_their_own_names():
    with FileSource(BASE / "model.safetensors") as source:
        base = stored_tensors(open_weights({"model.safetensors": source}))
        same = checked(BASE / "model.safetensors", base)
        other = checked(SAMPLES / GENTLE / "model.safetensors", base, relation="finetune")
    assert (same.verdict, same.value["parent"]["share_identical"]) == ("pass", 1)
    assert 0 < other.value["parent"]["share_identical"] < 0.5


def test_layers_and_rows_that_are_not_there_are_named(converted, tmp_path):
    with ExitStack() as stack:
        weights = look_at(converted("Q8_0"), stack).weights
        layout = plan_first_layers(weights, 2)
        (tmp_path / "short.gguf").write_bytes(b"".join(copied(weights, layout)))
    check = checked(tmp_path / "short.gguf", parent_of(BASE))
    assert (check.verdict, check.code, check.value["n_findings"]) == ("fail", "tensor-missing", 9)
    assert check.summary.startswith("blk.2.attn_norm.weight: the parent has it, the file does not")


def test_a_parent_that_cannot_be_read_is_no_fault_of_the_artifact(converted, tmp_path):
    whole = converted("F32").read_bytes()
    (tmp_path / "parent.gguf").write_bytes(whole)
    with ExitStack() as stack:
        parent = tensors_at(tmp_path / "parent.gguf", stack, of_gguf=True)
        (tmp_path / "parent.gguf").write_bytes(whole[: len(whole) // 2])  # cut after it was opened
        check = checked(converted("Q8_0"), parent)
    assert (check.verdict, check.code) == ("error", "parent-not-run")
    assert check.summary.startswith("the parent's output_norm.weight cannot be read")
