"""What a person may demand, written down, read back, and never able to keep a worker busy for ever."""

import time

import pytest

from conversion.naming.base import NamingError
from conversion.naming.overrides import Overrides, compile_pattern, parse_tensor_types

SAFE = [
    "ffn_down",
    r"blk\.(0|1|2[0-9])\.",
    "^output.weight$",
    r"attn_[qkv]\.weight",
    "a.*b.*c",
    "(?:up|gate)_exps",
    r"\(",
    "[)(*]+",
    "x{2}",
]
UNSAFE = [
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "(a*)*",
    "((a+))+",
    "((a|b)c)*",
    r"(a)\1",
    "(?=a)",
    "(?P<x>a)",
    ".*.*.*.*x",
    "(?:a?){50}",
    "(",
    "a" * 201,
    "*a",
    "[a",
    "\\",
]


@pytest.mark.parametrize("pattern", SAFE)
def test_plain_patterns_are_taken(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", UNSAFE)
def test_patterns_that_are_none_or_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(NamingError) as refused:
        compile_pattern(pattern)
    assert refused.value.code == "bad-pattern"


def test_the_slowest_pattern_that_is_taken_is_quick_on_the_longest_name() -> None:
    pattern = compile_pattern("[a-z]*[a-z]*[a-z]*0")
    started = time.thread_time()
    assert pattern.search("a" * 63) is None
    assert time.thread_time() - started < 1


def test_overrides_survive_a_recipe_and_no_demand_is_an_empty_object() -> None:
    assert Overrides().as_json() == {}
    demands = Overrides("Q8_0", "F16", (("ffn_down", "Q6_K"), ("attn", "Q5_K")), pure=True, leave_output=True)
    assert Overrides.from_json(demands.as_json()) == demands
    for broken in ({"colour": "blue"}, {"pure": 1}, {"tensor_types": ["a=b"]}, {"tensor_types": [["a", 1]]}):
        with pytest.raises(NamingError, match=r"override|pairs"):
            Overrides.from_json(broken)


def test_a_type_on_the_command_line_stands_after_the_last_equals_sign() -> None:
    assert parse_tensor_types(["ffn=down=q6_k", "a=F16"]) == (("ffn=down", "Q6_K"), ("a", "F16"))
    for text in ("Q6_K", "=Q6_K", "a=Q9_K", "a=Q4_0_4_4"):
        with pytest.raises(NamingError):
            parse_tensor_types([text])
