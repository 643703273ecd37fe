"""llama.cpp against the reference implementation: recorded figures always, live with TORCH=1."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from conversion.inference.engine import EngineError, start_engine
from conversion.inference.judge import Reference, judge
from conversion.inference.sandbox import Sandbox
from conversion.inference.selftest import FOLDER, check_engine
from tests.conversion.inference.ggufs import SAMPLES
from tests.conversion.inference.test_gaps import written

RECORDED = json.loads(
    (Path(__file__).resolve().parents[2] / "fixtures/reference/transformers.json").read_text()
)
PROMPT = RECORDED["prompt"]
SURE = 0.05
live = [
    pytest.mark.torch,
    pytest.mark.skipif(os.environ.get("TORCH") != "1", reason="needs TORCH=1 and torch"),
]


def check_recorded(model, recorded, tolerance):
    ids = model.tokenize(PROMPT, special=True)
    assert ids == recorded["ids"]
    for position, (token, margin) in enumerate(zip(recorded["tokens"], recorded["margins"], strict=True)):
        (rows,) = model.logits(ids, first=len(ids) - 1)
        if position == 0:
            for other, logit in recorded["next_logits"].items():
                assert rows[0][int(other)] == pytest.approx(logit, abs=tolerance)
        if margin > 2 * tolerance:
            assert int(np.argmax(rows[0])) == token
        ids.append(token)


@pytest.mark.parametrize("sample", ["base-f32", "base-bf16"])
def test_our_lossless_conversion_says_what_transformers_recorded(converted, sample):
    with Sandbox("llama.cpp", converted("F32", sample)) as model:
        check_recorded(model, RECORDED["models"][sample], 0.005)


def test_q8_0_says_what_transformers_recorded_of_its_parent(converted):
    with Sandbox("llama.cpp", converted("Q8_0")) as model:
        check_recorded(model, RECORDED["models"]["base-f32"], 0.1)


def test_the_known_answers_are_those_that_were_recorded():
    answers, recorded = json.loads((FOLDER / "answers.json").read_text()), RECORDED["models"]["known"]
    assert answers["ids"] == recorded["ids"]
    assert answers["next_logits"] == recorded["next_logits"]
    n = len(answers["next_tokens"])
    assert answers["next_tokens"] == recorded["tokens"][:n]
    assert min(recorded["margins"][:n]) > answers["tolerance"] * 2


class TestLive:
    pytestmark = live

    def test_transformers_gives_the_known_answers_too(self):
        report = check_engine("transformers")
        assert report.library_version.startswith("torch ")
        assert len(report.library_sha256) == 64

    @pytest.mark.parametrize("sample", ["base-f32", "base-bf16"])
    def test_a_lossless_conversion_is_verified_against_the_checkpoint_itself(self, converted, sample):
        dtype = sample.rpartition("-")[2].upper()
        report = judge(
            converted("F32", sample), Reference("transformers", SAMPLES / sample, frozenset({dtype}))
        )
        assert (report.verdict, report.limits_class) == ("verified", "lossless"), report.reason
        assert report.figures.mean_kld < 1e-6
        assert {sample.n_equal_tokens for sample in report.samples} == {24}

    def test_the_checkpoint_and_our_f32_are_the_same_parent_to_a_quantised_file(self, converted):
        ours = judge(converted("Q8_0"), Reference("llama.cpp", converted("F32"), frozenset({"F32"})))
        theirs = judge(converted("Q8_0"), Reference("transformers", SAMPLES / "base-f32", frozenset({"F32"})))
        assert theirs.verdict == "verified"
        assert theirs.figures.mean_kld == pytest.approx(ours.figures.mean_kld, rel=0.02)

    def test_transformers_runs_in_the_same_sandbox(self):
        with Sandbox("transformers", SAMPLES / "base-bf16") as model:
            assert {"network", "user", "limits", "files", "system calls"} <= model.isolation.keys()
            check_recorded(model, RECORDED["models"]["base-bf16"], 0.001)

    def test_a_checkpoint_is_judged_as_itself(self):
        report = judge(
            SAMPLES / "base-bf16", Reference("transformers", SAMPLES / "base-f32", frozenset({"F32"}))
        )
        assert (report.verdict, report.limits_class) == ("verified", "cast"), report.reason
        assert report.subject.as_json() == {
            "kind": "decoder", "container": "safetensors", "architecture": "LlamaForCausalLM",
        }  # fmt: skip
        assert report.engines["artifact"].name == "transformers"
        assert 1e-6 < report.figures.mean_kld < 1e-5

    @pytest.mark.parametrize(("changes", "drop", "code", "words"), [
        ({}, ["model.norm.weight"], "load-refused", "1 weights are missing, first model.norm.weight"),
        ({"model_type": "unheard-of"}, [], "unsupported-architecture", "does not recognize this architecture"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, [], "engine-missing",
         "transformers refused it"),
    ])  # fmt: skip
    def test_weights_are_never_made_up_and_what_cannot_run_here_is_no_fault_of_the_checkpoint(
        self, tmp_path, changes, drop, code, words
    ):
        """In this process, which imports torch once: these files are our own."""
        with pytest.raises(EngineError, match=words) as caught:
            start_engine("transformers", 1).load(str(written(tmp_path / "other", changes, drop)))
        assert caught.value.code == code, caught.value.message

    def test_code_in_a_repository_is_never_run(self, tmp_path):
        config = json.loads((SAMPLES / "base-bf16/config.json").read_text())
        config |= {
            "model_type": "own",
            "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
        }
        for path in (SAMPLES / "base-bf16").iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "own.py").write_text("raise SystemExit('the code ran')")
        with pytest.raises(EngineError, match="transformers refused it") as caught:
            Sandbox("transformers", tmp_path)
        assert "the code ran" not in str(caught.value)
