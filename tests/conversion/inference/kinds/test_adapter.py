"""LoRA adapters: what they add is told, their base runs with them, and every planted fault is named."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from conversion.formats.lora_folder import open_adapter_folder
from conversion.formats.safetensors import read_header
from conversion.formats.source import FileSource
from conversion.inference.judge import Reference, judge
from conversion.inference.report import Report
from conversion.naming.adapter import plan_adapter
from conversion.naming.file_types import file_type_by_name
from conversion.naming.plan import read_config
from conversion.naming.slabs import file_pieces
from tests.conversion.inference.ggufs import SAMPLES, header_of, patched
from tests.conversion.naming.models import config, write_checkpoint

ADAPTER, BASE = SAMPLES / "lora-jargon-adapter", SAMPLES / "base-bf16"
Change = Callable[[str, np.ndarray], np.ndarray]


def changed(folder: Path, change: Change, **settings: object) -> Path:
    """A copy of the adapter with other values, and other settings in its config."""
    shutil.copytree(ADAPTER, folder)
    path = folder / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    with FileSource(path) as source:
        entries = read_header(source).entries
    for entry in entries:
        values = np.frombuffer(data, np.float32, entry.n_elements, entry.start).reshape(entry.shape)
        data[entry.start : entry.end] = change(entry.name, values).astype("<f4").tobytes()
    path.write_bytes(data)
    told = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(told | settings))
    return folder


def as_gguf(path: Path, type_name: str) -> Path:
    with ExitStack() as stack:
        adapter = open_adapter_folder(ADAPTER, stack)
        plan = plan_adapter(adapter, ADAPTER, read_config(BASE), file_type_by_name(type_name))
        path.write_bytes(b"".join(piece.data for piece in file_pieces(plan, adapter.weights)))
    return path


def with_base(path: Path, base: Path = BASE) -> Report:
    return judge(path, Reference("", base))


def test_a_sound_adapter_runs_with_its_base_and_how_far_it_moves_it_is_told() -> None:
    report = with_base(ADAPTER)
    assert report.verdict == "loads", report.reason
    assert report.subject.kind == "adapter"
    assert report.artifact["adapter"]["n_pairs"] == 6
    assert report.artifact["adapter"]["scales"] == [2]
    assert 0.01 < report.artifact["adapter"]["largest_relative"] < 2
    assert report.checks["forward"].value["mean_kld"] > 0.1
    assert "which is not judged" in report.reason


def test_without_a_base_only_its_tensors_are_judged() -> None:
    report = judge(ADAPTER)
    assert (report.verdict, report.as_json()["level"]) == ("partial", "tensors")
    assert "it changes 6 weights by rank 8" in report.reason
    assert "its base is not known here" in report.reason


def one_nan(name: str, values: np.ndarray) -> np.ndarray:
    return np.where(values == values.flat[0], np.nan, values) if "layers.1" in name else values


PLANTED: dict[str, tuple[Change, dict[str, object], str, str]] = {
    "zero B": (
        lambda name, v: 0 * v if "lora_B" in name else v,
        {},
        "damaged",
        "it adds nothing: all 6 pairs",
    ),
    "NaN": (one_nan, {}, "damaged", "NaN"),
    "no alpha": (lambda name, v: v, {"lora_alpha": None}, "damaged", "lora_alpha must be a number"),
    "DoRA": (lambda name, v: v, {"use_dora": True}, "unsupported", "it is not a plain LoRA adapter"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_gets_its_verdict_and_a_reason(tmp_path: Path, fault: str) -> None:
    change, settings, verdict, words = PLANTED[fault]
    report = with_base(changed(tmp_path / "adapter", change, **settings))
    assert (report.verdict, words in report.reason) == (verdict, True), report.reason


@pytest.mark.parametrize("as_type", [None, "F16"])
def test_a_base_that_is_not_its_own_is_damage_with_the_tensor_s_name(
    tmp_path: Path, as_type: str | None
) -> None:
    write_checkpoint(tmp_path / "other", config())
    adapter = as_gguf(tmp_path / "adapter.gguf", as_type) if as_type else ADAPTER
    report = with_base(adapter, tmp_path / "other")
    assert report.verdict == "damaged"
    assert "it is not an adapter of this base" in report.reason or "wrong base model" in report.reason


def test_a_gguf_adapter_adds_what_its_parent_adds_and_llama_cpp_applies_it(tmp_path: Path) -> None:
    report = judge(as_gguf(tmp_path / "adapter.gguf", "Q8_0"), Reference("", ADAPTER, base=BASE))
    assert report.verdict == "verified", report.reason
    assert 1e-4 < report.checks["fidelity"].value < 2e-2
    assert report.checks["forward"].value["mean_kld"] == pytest.approx(0.65, abs=0.05)


def test_the_base_of_a_gguf_adapter_may_be_a_gguf(tmp_path: Path, converted: Callable[..., Path]) -> None:
    own = Reference("", ADAPTER, base=converted("F16", "base-bf16"))
    report = judge(as_gguf(tmp_path / "adapter.gguf", "F32"), own)
    assert (report.verdict, report.checks["fidelity"].value < 1e-6) == ("verified", True), report.reason


def test_a_gguf_adapter_with_its_rows_in_another_order_is_not_its_parent_s(tmp_path: Path) -> None:
    path = as_gguf(tmp_path / "adapter.gguf", "F32")
    entry = next(one for one in header_of(path).entries if one.name.endswith("attn_q.weight.lora_b"))
    rows = np.frombuffer(path.read_bytes()[entry.start : entry.end], np.float32).reshape(entry.shape)
    report = judge(patched(path, tmp_path / "rows.gguf", {entry.start: rows[::-1].tobytes()}),
                   Reference("", ADAPTER, base=BASE))  # fmt: skip
    assert report.verdict == "damaged"
    assert report.checks["fidelity"].code == "adapter-differs"
