import json

import pytest

from conversion.inference.engine import Vocabulary
from conversion.inference.findings import Findings
from conversion.inference.special_tokens import compare_special, expected_special

PARENT = Vocabulary("BPE", 100, {"bos": 1, "eos": 2, "eot": 5, "pad": 3}, {"bos": True, "eos": False}, [2, 5])


def found(ends=(2, 5), adds=(True, False), **special):
    ours = Vocabulary(
        "BPE", 100, PARENT.special | special, dict(zip(("bos", "eos"), adds, strict=True)), list(ends)
    )
    findings = Findings()
    compare_special(ours, PARENT, findings)
    return findings


def test_the_parents_special_tokens_are_no_finding():
    assert (found().failures, found().warnings) == ([], [])


@pytest.mark.parametrize(("findings", "words"), [
    (found(bos=7), "its bos token is 7 instead of 1"),
    (found(eos=9), "its eos token is 9 instead of 2"),
    (found(eos=5, ends=[5]), "its eos token is 5 instead of 2"),
    (found(adds=(False, False)), "it does not put the bos token around a text, unlike its parent"),
    (found(adds=(True, True)), "it puts the eos token around a text, unlike its parent"),
])  # fmt: skip
def test_a_text_that_begins_or_ends_otherwise_is_a_failure(findings, words):
    assert findings.failures == [(words, "special-tokens-differ")]


@pytest.mark.parametrize(("findings", "words"), [
    (found(pad=0), "its pad token is 0 instead of 3"),
    (found(eos=5), "its eos token is 5 instead of 2"),
    (found(eot=2), "its eot token is 2 instead of 5"),
])  # fmt: skip
def test_another_token_for_filling_up_or_of_several_ends_is_a_warning(findings, words):
    assert (findings.failures, findings.warnings) == ([], [words])


def test_the_parents_files_say_what_is_expected(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": "</s>", "id": 2}]}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "add_bos_token": True}))
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 1, "mask_token_id": 8}))
    stated = expected_special(tmp_path, PARENT)
    assert (stated.special, stated.adds) == ({"bos": 1, "eos": 2}, {"bos": True})
    (tmp_path / "tokenizer.json").write_text("[")
    assert expected_special(tmp_path, PARENT) is None
