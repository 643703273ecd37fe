import json
from itertools import pairwise

import pytest

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.formats.layout import TensorEntry
from conversion.inference.fidelity import Figures
from conversion.inference.limits import (
    PATH,
    Yardstick,
    further_than,
    judge_figures,
    main_type,
    read_limits,
)
from conversion.inference.report import Check
from tests.conversion.inference.ggufs import header_of


def figures(kld=0.0, error=0.0, top1=1.0, ln_ppl=0.0):
    return Figures(1524, kld, error, kld, kld, kld, top1, ln_ppl, 10.0, 10.0, 0.0)


def entry(name, dtype, *shape):
    return TensorEntry(name, dtype, shape, 0, 0)


def class_of(dtype, *parent):
    return read_limits().class_of([entry("blk.0.ffn_up.weight", dtype, 64, 64)], frozenset(parent)).name


def test_every_type_that_ggml_writes_has_exactly_one_class():
    classes = read_limits().classes.values()
    floats_and_integers = {"I8", "I16", "I32", "I64"}
    for name, kind in TYPE_BY_NAME.items():
        if not kind.removed and not kind.fork and name not in floats_and_integers:
            assert sum(name in one.types for one in classes) == 1, name


def test_a_class_with_fewer_bits_may_be_further_away():
    limits = read_limits().classes.values()
    for tighter, looser in pairwise(limits):
        assert tighter.kld_pass < looser.kld_pass
        assert tighter.kld_fail < looser.kld_fail
        assert tighter.top1_pass > looser.top1_pass


@pytest.mark.parametrize(("dtype", "parent", "expected"), [
    ("F32", "F32", "lossless"), ("F32", "BF16", "lossless"), ("BF16", "BF16", "lossless"), ("F16", "F16", "lossless"),
    ("F16", "F32", "cast"), ("BF16", "F32", "cast"), ("F16", "BF16", "cast"), ("BF16", "F16", "cast"),
    ("Q8_0", "F32", "8 bit"), ("Q4_0", "BF16", "4 bit"), ("Q2_K", "F16", "2 bit"), ("IQ1_S", "F16", "below 2 bit"),
])  # fmt: skip
def test_the_class_follows_the_type_and_what_the_parent_stores(dtype, parent, expected):
    assert class_of(dtype, parent) == expected


@pytest.mark.parametrize(("scheme", "expected"), [
    ({"quant_method": "gptq", "bits": 4}, "4 bit"), ({"quant_method": "awq", "bits": 4}, "4 bit"),
    ({"quant_method": "gptq", "bits": 8}, "8 bit"), ({"quant_method": "fp8"}, "fp8"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "4 bit"),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "8 bit"), ({"quant_method": "mxfp4"}, "4 bit"),
    ({"quant_method": "compressed-tensors",
      "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}}, "fp8"),
    ({"quant_method": "compressed-tensors",
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}}, "4 bit"),
    ({"quant_method": "unheard-of", "bits": 7}, "cast"), ({}, "lossless"), ("not an object", "lossless"),
])  # fmt: skip
def test_a_packed_checkpoint_is_of_the_class_that_its_config_claims(scheme, expected):
    entries = [entry("model.layers.0.mlp.up_proj.weight", "F32", 64, 64)]
    found = read_limits().class_of(entries, {"F32"}, {"quantization_config": scheme})
    assert found.name == expected


def test_a_file_is_refused_when_it_is_further_than_our_own_beyond_both_errors():
    ours, limits = Yardstick("Q4_K_M", "our converter 3", figures(kld=0.010, error=0.0004)), read_limits()
    assert further_than(figures(kld=0.015, error=0.0005), ours, limits) == ""
    assert (
        further_than(figures(kld=0.0160, error=0.0005), ours, limits) == ""
    )  # 0.0155 is within 1.5 * 0.0104
    said = further_than(figures(kld=0.02, error=0.0005), ours, limits)
    assert said.startswith("it is 2.0 times as far from its parent as our own Q4_K_M of it: mean KLD 0.02")
    assert further_than(figures(kld=9.0), Yardstick("Q4_K_M", "3"), limits) == ""
    assert further_than(figures(kld=9.0), None, limits) == ""


def test_where_ours_is_at_nothing_only_what_is_no_longer_lossless_is_further():
    ours, limits = Yardstick("F32", "our converter 3", figures(kld=0.0, error=0.0)), read_limits()
    assert further_than(figures(kld=1e-14, error=0.0), ours, limits) == ""
    assert further_than(figures(kld=1e-5, error=0.0), ours, limits) == ""
    assert "it is further from its parent than our own F32" in further_than(
        figures(kld=1e-4, error=0.0), ours, limits
    )


@pytest.mark.parametrize(("found", "yardstick", "verdict", "code"), [
    (figures(kld=0.05), None, "pass", ""),
    (figures(kld=0.05, top1=0.8), None, "warn", ""),
    (figures(kld=0.05, top1=0.8, ln_ppl=0.5), None, "fail", "too-far-from-parent"),
    (figures(kld=0.5), None, "fail", "too-far-from-parent"),
    (figures(kld=0.05), Yardstick("Q4_0", "3", figures(kld=0.01)), "fail", "further-than-our-own"),
    (figures(kld=0.05), Yardstick("Q4_0", "3", figures(kld=0.04)), "pass", ""),
])  # fmt: skip
def test_figures_are_held_against_the_class_and_then_against_our_own(found, yardstick, verdict, code):
    check, limits = Check("fidelity"), read_limits()
    judge_figures(check, found, limits.classes["4 bit"], limits, yardstick)
    assert (check.verdict, check.code) == (verdict, code)


def test_every_class_and_every_other_limit_says_where_it_comes_from():
    data = json.loads(PATH.read_text())
    said = set(data["sources"])
    assert data["classes"].keys() <= said
    assert said - data["classes"].keys() <= data.keys()


def test_without_knowing_the_parents_types_nothing_is_called_lossless():
    assert class_of("F32") == "cast"


def test_a_file_is_named_for_most_of_its_weights_in_layers(converted):
    assert main_type(header_of(converted("Q4_0")).entries) == "Q4_0"
    mixed = [entry("token_embd.weight", "Q8_0", 1000, 64), entry("blk.0.a.weight", "Q4_K", 64, 64),
             entry("blk.0.b.weight", "Q6_K", 32, 64), entry("blk.0.norm.weight", "F32", 9999)]  # fmt: skip
    assert main_type(mixed) == "Q4_K"


def test_a_limit_is_compared_with_the_mean_and_three_standard_errors():
    limits = read_limits().classes["8 bit"]
    assert limits.misses(figures(kld=0.0045)) == []
    assert len(limits.misses(figures(kld=0.0045, error=0.0002))) == 1


def test_each_figure_that_misses_is_named_with_its_limit():
    missed = read_limits().classes["8 bit"].misses(figures(kld=1.0, top1=0.5, ln_ppl=-0.2))
    assert [text.split(" is ")[0].split(" at ")[0] for text in missed] == [
        "mean KLD + 3 SE", "the same next token", "ln PPL ratio",
    ]  # fmt: skip
