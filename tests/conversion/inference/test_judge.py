"""Verdicts on real weights: the healthy ones pass, every planted fault is found, whatever it does to the engine."""

import dataclasses
import json
import re
import shutil
import sys
from contextlib import ExitStack
from functools import cache

import numpy as np
import pytest

from conversion.inference.engine import EngineError
from conversion.inference.judge import Reference, judge
from conversion.inference.limits import Yardstick
from conversion.inference.parents import tensors_at
from conversion.inference.readings import make_reading
from conversion.inference.subjects import look_at
from tests.conversion.inference.ggufs import (
    BASE,
    SAMPLES,
    header_of,
    patched,
    with_metadata,
    with_zeros,
)
from tests.conversion.inference.packing import write_gptq


@pytest.fixture(scope="session")
def parent(converted):
    facts = {"reference": "F32"}
    return Reference("llama.cpp", converted("F32"), frozenset({"F32"}), facts, BASE / "tokenizer.model")


@pytest.fixture(scope="session")
def heard(parent):
    """The parent by its reading: the same figures (test_readings.py) at half the cost."""
    return dataclasses.replace(parent, reading=make_reading(parent, {}))


@pytest.fixture(scope="session")
def judged(converted, parent):
    """The report on the base in a type, its parent run beside it; made once."""
    return cache(lambda type_name: judge(converted(type_name), parent))


def verdicts(report):
    return {name: check.verdict for name, check in report.checks.items()}


@pytest.mark.parametrize(("type_name", "limits_class"), [
    ("F32", "lossless"), ("F16", "cast"), ("BF16", "cast"), ("Q8_0", "8 bit"), ("Q4_0", "4 bit"),
])  # fmt: skip
def test_what_we_convert_is_verified(judged, type_name, limits_class):
    report = judged(type_name)
    assert (report.verdict, report.limits_class) == ("verified", limits_class), report.reason
    assert "warn" not in verdicts(report).values()
    assert report.reason.startswith("says what its parent says")
    assert report.samples[0].artifact == report.samples[0].parent


def test_a_lossless_file_must_write_what_its_parent_writes(judged):
    assert {sample.n_equal_tokens for sample in judged("F32").samples} == {24}


def test_classes_are_in_the_order_of_their_bits(judged):
    klds = [judged(name).figures.mean_kld for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0")]
    assert klds == sorted(klds)
    assert klds[0] == 0


def test_the_report_names_everything_that_its_figures_depend_on(judged):
    report = judged("Q8_0").as_json()
    windows = {"kjv.txt", "austen.txt", "code.txt", "languages.txt"}
    assert report["texts"].keys() == windows | {"strings.json"}
    assert report["by_text"].keys() == windows
    prose = sum(report["by_text"][text]["n_positions"] for text in ("kjv.txt", "austen.txt"))
    assert report["figures"]["n_positions"] == prose == 1524
    engine = report["engines"]["artifact"]
    assert engine["package"] == "xllamacpp"
    assert len(engine["library_sha256"]) == 64
    assert engine["threads"] == 1
    assert report["engines"]["parent's tokenizer.model"]["package"] == "sentencepiece, tokenizers"
    assert report["limits"] == {"version": 2, "class": "8 bit"}
    assert report["parent"] == {"reference": "F32"}
    assert report["divergence"] == "full"
    assert [check["id"] for check in report["checks"]][-1] == "cost"


def test_the_cost_is_told_in_cpu_seconds_and_memory(judged):
    value = judged("Q8_0").checks["cost"].value
    assert 0.01 < value["cpu_seconds"] < 60
    assert 10**7 < value["peak_bytes"] < 10**9
    assert value["tokens_per_cpu_second"]["reads"] > 100
    assert judged("Q8_0").checks["cost"].verdict == "pass"


def test_judging_twice_gives_the_same_report_but_for_the_seconds(converted, parent, judged):
    def timeless(report):
        for check in report["checks"]:
            check.pop("seconds")
        report["checks"].pop()
        report.pop("seconds")
        return report

    assert timeless(judge(converted("Q4_0"), parent).as_json()) == timeless(judged("Q4_0").as_json())


def test_without_a_parent_a_sound_file_only_loads(converted):
    report = judge(converted("Q8_0"))
    assert report.verdict == "loads"
    assert report.checks["fidelity"].verdict == "skipped"
    assert report.samples[0].artifact.startswith("And it came to pass, and said")


MINUS_ONE = 0xBF800000
"""-1.0 as float32: an epsilon that makes llama.cpp abort while it computes."""


def test_a_file_that_aborts_the_engine_is_damaged_and_nothing_else_happens(converted, tmp_path):
    key = "llama.attention.layer_norm_rms_epsilon"
    report = judge(with_metadata(converted("Q8_0"), tmp_path / "hostile.gguf", key, MINUS_ONE))
    assert report.verdict == "damaged"
    assert report.reason.startswith("the engine crashed: SIGABRT")
    assert report.checks["forward"].value["signal"] == "SIGABRT"


def test_a_changed_byte_is_found_by_the_digest(converted, tmp_path):
    report = judge(converted("Q8_0"), sha256="0" * 64)
    assert report.verdict == "damaged"
    assert report.reason.startswith("the bytes changed")


def test_a_zeroed_layer_is_not_verified(converted, heard, tmp_path):
    report = judge(with_zeros(converted("Q8_0"), tmp_path / "zero.gguf", "blk.1."), heard)
    assert report.verdict == "damaged"
    assert report.checks["tensors"].verdict == "warn"
    assert "it does not say what its parent says" in report.reason


def test_one_zeroed_matrix_is_not_verified(converted, heard, tmp_path):
    report = judge(with_zeros(converted("Q8_0"), tmp_path / "zero.gguf", "blk.2.ffn_down"), heard)
    assert report.verdict == "damaged"


def test_exchanged_rows_are_not_verified(converted, heard, tmp_path):
    original = converted("Q8_0")
    entry = next(entry for entry in header_of(original).entries if entry.name == "blk.0.ffn_up.weight")
    rows = np.frombuffer(original.read_bytes()[entry.start : entry.end], np.uint8).reshape(entry.shape[0], -1)
    path = patched(original, tmp_path / "rows.gguf", {entry.start: rows[::-1].tobytes()})
    assert judge(path, heard).verdict == "damaged"


def test_the_quant_of_a_gentle_fine_tune_is_not_that_of_the_base(converted, heard):
    report = judge(converted("Q8_0", "ft-gentle-bf16"), heard)
    assert report.verdict == "damaged"
    assert report.checks["fidelity"].code == "too-far-from-parent"


def test_a_packed_checkpoint_is_judged_by_the_numbers_it_stands_for(heard, tmp_path):
    """Tensor by tensor, and by what it says."""
    with ExitStack() as stack:
        stored = dataclasses.replace(heard, tensors=tensors_at(BASE, stack, of_gguf=False))
        report = judge(write_gptq(tmp_path / "gptq"), stored)
        assert (report.verdict, report.limits_class) == ("verified", "4 bit"), report.reason
        assert 0.001 < report.figures.mean_kld < 0.05
        assert report.artifact["run_as"] == {"artifact": "our own F32 GGUF of its unpacked weights"}
        tensors = report.checks["tensors"]
        assert tensors.verdict == "pass", tensors.summary
        assert re.search(r"unpacked at a cosine of 0\.99\d\d or more", tensors.summary)
        assert tensors.value["table"]["n_tensors"] == len(stored.tensors.targets)
        hurried = judge(tmp_path / "gptq", stored, max_seconds=0.01)
        assert (hurried.verdict, hurried.checks["load"].code) == ("partial", "engine-timeout")
        spoilt = judge(write_gptq(tmp_path / "spoilt", spoilt="model.layers.1."), stored)
    assert (spoilt.verdict, spoilt.checks["tensors"].code) == ("damaged", "tensor-zero"), spoilt.reason
    unheard = judge(tmp_path / "spoilt", dataclasses.replace(heard, tensors=None))
    assert (unheard.verdict, unheard.checks["fidelity"].verdict) == ("damaged", "fail"), unheard.reason


def test_exchanged_rows_of_a_packed_matrix_are_found_unless_its_scales_may_have_been_moved(heard, tmp_path):
    """AWQ moves scales from one tensor to another: then a tensor alone says nothing, but what is said does."""
    upside_down = {"spoilt": "model.layers.1.mlp.up_proj", "change": lambda rows: rows[::-1]}
    folder = write_gptq(tmp_path / "gptq", **upside_down)
    with ExitStack() as stack:
        stored = dataclasses.replace(heard, tensors=tensors_at(BASE, stack, of_gguf=False))
        report = judge(folder, stored)
        assert (report.verdict, report.checks["tensors"].code) == ("damaged", "rows-exchanged"), report.reason
        look = look_at(folder, stack)
    assert (look.is_packed, look.is_rescaled) == (True, False)
    assert dataclasses.replace(look, config={"quantization_config": {"quant_method": "awq"}}).is_rescaled


def test_without_transformers_a_checkpoint_runs_as_our_own_f32_gguf_of_it(heard, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    report = judge(BASE, heard)
    assert (report.verdict, report.limits_class) == ("verified", "lossless"), report.reason
    assert report.engines["artifact"].name == "llama.cpp"
    assert report.artifact["run_as"] == {"artifact": "our own F32 GGUF of it"}
    odd = shutil.copytree(BASE, tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text()) | {"architectures": ["NobodysForCausalLM"]}
    (odd / "config.json").write_text(json.dumps(config))
    found = judge(odd, heard)
    assert (found.verdict, found.checks["load"].code) == ("untested", "engine-missing"), found.reason
    assert "transformers is not installed here" in found.reason


def test_a_fine_tune_is_not_asked_to_say_what_its_base_says(converted, heard):
    fork = dataclasses.replace(heard, relation="finetune")
    report = judge(converted("Q8_0", "ft-gentle-bf16"), fork)
    assert (report.verdict, report.checks["fidelity"].verdict) == ("loads", "skipped")
    assert report.figures.mean_kld > 0.004
    assert (
        "a finetune may say something else than its parent; it is mean KLD 0.00"
        in report.checks["fidelity"].summary
    )


def test_a_file_further_away_than_our_own_of_its_type_is_damaged(converted, heard, judged):
    ours = judged("Q8_0").figures
    held = dataclasses.replace(heard, yardstick=Yardstick("Q4_0", "our converter", ours))
    report = judge(converted("Q4_0"), held)
    assert (report.verdict, report.checks["fidelity"].code) == ("damaged", "further-than-our-own")
    assert "times as far from its parent as our own Q4_0 of it" in report.reason
    itself = dataclasses.replace(heard, yardstick=Yardstick("Q4_0", "our converter"))
    assert judge(converted("Q4_0"), itself).verdict == "verified"


def test_the_fine_tune_is_verified_against_itself(converted):
    own = Reference("llama.cpp", converted("F32", "ft-gentle-bf16"), frozenset({"BF16"}), {}, None)
    assert judge(converted("Q8_0", "ft-gentle-bf16"), own).verdict == "verified"


def test_a_tokenizer_that_is_not_the_parents_is_found(converted, parent, tmp_path):
    original = converted("Q8_0").read_bytes()
    # Two pieces of the vocabulary change places: of the same length, so that nothing moves.
    exchanged = original.replace(b"\xe2\x96\x81the", b"@" * 6, 1).replace(
        b"\xe2\x96\x81and", b"\xe2\x96\x81the", 1
    )
    (tmp_path / "other.gguf").write_bytes(exchanged.replace(b"@" * 6, b"\xe2\x96\x81and", 1))
    report = judge(tmp_path / "other.gguf", parent)
    assert report.verdict == "damaged"
    assert report.checks["tokenizer"].code == "tokenizer-differs"


def test_an_unknown_architecture_is_unsupported_not_damaged(converted, tmp_path):
    (tmp_path / "other.gguf").write_bytes(converted("Q8_0").read_bytes().replace(b"llama", b"lemma"))
    report = judge(tmp_path / "other.gguf")
    assert report.verdict == "unsupported"
    assert "lemma" in report.reason


def test_a_parent_that_cannot_be_run_says_nothing_of_the_artifact(converted, tmp_path):
    broken = with_metadata(converted("F32"), tmp_path / "parent.gguf", "llama.block_count", 0)
    report = judge(converted("Q8_0"), Reference("llama.cpp", broken, frozenset({"F32"})))
    assert report.verdict == "untested"
    assert "the parent could not be run" in report.reason


def test_a_parent_that_aborts_while_it_runs_says_nothing_of_the_artifact(converted, tmp_path):
    key = "llama.attention.layer_norm_rms_epsilon"
    broken = with_metadata(converted("F32"), tmp_path / "parent.gguf", key, MINUS_ONE)
    report = judge(converted("Q8_0"), Reference("llama.cpp", broken, frozenset({"F32"})))
    assert (report.verdict, report.checks["forward"].code) == ("untested", "parent-not-run")
    assert "the parent could not be run: the engine crashed: SIGABRT" in report.reason


def test_a_header_without_tensors_does_not_become_a_verdict_of_health(tmp_path):
    from conversion.formats.gguf import plan_file, string

    (tmp_path / "empty.gguf").write_bytes(
        plan_file({"general.architecture": string("llama")}, []).header_bytes
    )
    assert judge(tmp_path / "empty.gguf").verdict == "damaged"


def test_progress_grows_to_one(converted, heard):
    seen = []
    judge(converted("Q8_0"), heard, on_progress=lambda phase, share: seen.append((phase, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {"hashing", "loading", "comparing", "writing"} <= {phase for phase, _ in seen}


def test_giving_up_in_the_middle_leaves_no_process(converted, parent):
    class Enough(Exception):
        pass

    def stop(phase, share):
        if phase == "comparing":
            raise Enough

    with pytest.raises(Enough):
        judge(converted("Q8_0"), parent, on_progress=stop)


def test_the_samples_readme_is_beside_the_samples():
    assert (SAMPLES / "README.md").exists()
    assert EngineError("engine-missing", "").says_nothing_of_the_file
