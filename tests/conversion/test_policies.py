"""`manage.py policy`: made, listed, applied to what is here, removed."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from registry.models import Commit, Job
from tests.conversion.artifacts import sample_commit

pytestmark = pytest.mark.django_db(transaction=True)


def policy(*arguments: str) -> str:
    out = StringIO()
    call_command("policy", *arguments, stdout=out)
    return out.getvalue()


def test_a_policy_is_made_applied_and_removed() -> None:
    commit = sample_commit(
        parameter_count=2_300_000, facts={"config": {"architectures": ["LlamaForCausalLM"]}}
    )
    assert "There is no policy" in policy("list")
    said = policy("set", "small", "--to", "q4_k_m,Q8_0", "--max-parameters", "9B", "--base-only")
    assert (
        said.strip() == "policy small: Q4_K_M, Q8_0 for base models in * of at most 9,000,000,000 parameters"
    )
    assert policy("apply").startswith("0 jobs"), "the commit was not inspected yet"
    Commit.objects.filter(pk=commit.pk).update(inspected_at=timezone.now())
    assert policy("apply").startswith("1 jobs are queued")
    assert Job.objects.get().params["recipe"] == "Q4_K_M, Q8_0"
    (listed,) = json.loads(policy("list", "--json"))
    assert (listed["name"], listed["base_only"]) == ("small", True)
    assert "small is gone" in policy("remove", "small")
    assert json.loads(policy("list", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["set", "odd", "--to", "Q9_9"], 2, "unknown-file-type: 'Q9_9'"),
        (["set", "odd", "--to", ","], 2, "names no recipe"),
        (["remove", "odd"], 1, "there is no policy 'odd'"),
    ],
)
def test_mistakes_have_a_sentence_and_an_exit_status(arguments: list[str], status: int, said: str) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        policy(*arguments)
    assert refused.value.returncode == status
