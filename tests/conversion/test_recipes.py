"""Recipes: equal content, equal digest, on every machine and for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from conversion.convert import submit_wanted
from conversion.naming import NamingError
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.overrides import Overrides
from conversion.policies import save_policy, wanted_recipes
from conversion.recipes import Choice, recipe_digest
from registry.models import Commit, Job, Lineage, Policy, Recipe
from registry.work import run_job, submit
from tests.checkpoints import record_commit
from tests.conversion.naming.models import SAMPLES

FACTS = {"config": {"architectures": ["LlamaForCausalLM"]}}
ROOT = Path(__file__).parents[2]


def checkpoint(**facts: object) -> Commit:
    return record_commit(
        "acme/Tiny-7B", {"config.json": b"{}", "model.safetensors": b"weights"}, facts=FACTS | facts
    )


def test_every_file_type_has_its_own_digest() -> None:
    assert len({Choice(kind).digest for kind in FILE_TYPES.values()}) == len(FILE_TYPES)


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    content = Choice.of("Q8_0").content()
    assert recipe_digest(dict(reversed(content.items()))) == recipe_digest(content)


def test_the_digest_is_the_same_in_another_process() -> None:
    script = "import json,sys; from conversion.recipes import recipe_digest; print(recipe_digest(json.load(sys.stdin)))"
    content = '{"format": "gguf", "file_type": "Q8_0", "b": {"z": 1, "a": "ü"}}'
    printed = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", script],
        input=content, text=True, capture_output=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    assert printed.strip() == recipe_digest({"b": {"a": "ü", "z": 1}, "file_type": "Q8_0", "format": "gguf"})


def test_a_changed_converter_is_another_recipe() -> None:
    content = Choice.of("Q8_0").content()
    assert recipe_digest(content | {"converter": "holdfast-conversion/9"}) != recipe_digest(content)


@pytest.mark.django_db
def test_a_recipe_has_one_row() -> None:
    assert Choice.of("Q8_0").row() == Choice.of("Q8_0").row()
    row = Recipe.objects.get()
    assert (row.name, row.format, row.digest) == ("Q8_0", "gguf", Choice.of("Q8_0").digest)


@pytest.mark.django_db
def test_artifacts_are_named_as_users_know_them() -> None:
    assert Choice.of("Q4_0").path(checkpoint()) == "Tiny-7B-Q4_0.gguf"


@pytest.mark.django_db
def test_the_policy_names_what_a_checkpoint_should_have(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0", "q4_0"]
    assert [choice.name for choice in wanted_recipes(checkpoint())] == ["Q8_0", "Q4_0"]


@pytest.mark.django_db
def test_the_policy_wants_nothing_of_what_cannot_be_converted(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0"]
    assert wanted_recipes(checkpoint(config={"architectures": ["MambaForCausalLM"]})) == []
    assert wanted_recipes(checkpoint(config={})) == []
    assert wanted_recipes(record_commit("acme/empty", {"config.json": b"{}"}, facts=FACTS)) == []


@pytest.mark.django_db
def test_without_a_policy_nothing_is_wanted() -> None:
    assert wanted_recipes(checkpoint()) == []


@pytest.mark.django_db
def test_what_is_wanted_becomes_one_job_however_often_it_is_asked(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0", "Q4_0"]
    commit = checkpoint()
    assert [job.pk for job in submit_wanted(commit)] == [job.pk for job in submit_wanted(commit)]
    assert list(Job.objects.values_list("params__recipe", flat=True)) == ["Q8_0, Q4_0"]


@pytest.mark.django_db(transaction=True)
def test_inspection_asks_for_what_the_policy_wants(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0"]
    commit = record_commit("tinyfamily/base", SAMPLES / "base-f32")
    job = submit(
        "inspect", key=str(commit.pk), label="inspect", params={"commit": commit.pk}, repo=commit.repo
    )
    run_job(job.pk)
    assert Job.objects.get(kind="convert").params["recipe"] == "Q8_0"


def test_more_than_a_file_type_is_another_recipe_with_another_name() -> None:
    plain = Choice.of("Q4_K_M")
    others = [
        Choice(plain.file_type, Overrides(output="Q8_0")),
        Choice(plain.file_type, Overrides(pure=True)),
        Choice(plain.file_type, imatrix="ab" * 32),
    ]
    assert len({choice.digest for choice in [plain, *others]}) == 4
    assert all(choice.name == f"Q4_K_M-{choice.digest[:8]}" for choice in others)
    for choice in [plain, *others, Choice(plain.file_type, source_path="a.gguf", requantises=True)]:
        assert Choice.from_content(choice.content()) == choice


def test_a_recipe_of_another_release_is_refused_by_name() -> None:
    content = Choice.of("Q8_0").content() | {"converter": "holdfast-conversion/0"}
    with pytest.raises(NamingError, match="holdfast-conversion/0") as refused:
        Choice.from_content(content)
    assert refused.value.code == "other-converter"


@pytest.mark.django_db
def test_a_policy_is_for_the_repos_and_sizes_that_it_says() -> None:
    save_policy("small", ["q4_k_m", "Q8_0", "Q8_0"], repos="acme/*", max_parameters=9 * 10**9)
    commit = checkpoint()
    assert wanted_recipes(commit) == [], "its size is not known"
    for count, names in ((9 * 10**9, ["Q4_K_M", "Q8_0"]), (9 * 10**9 + 1, [])):
        commit.parameter_count = count
        assert [choice.name for choice in wanted_recipes(commit)] == names
    Policy.objects.update(repos="other/*")
    commit.parameter_count = 1
    assert wanted_recipes(commit) == []


@pytest.mark.django_db
def test_a_policy_for_base_models_leaves_children_alone() -> None:
    save_policy("bases", ["Q6_K"], base_only=True)
    commit = checkpoint()
    assert [choice.name for choice in wanted_recipes(commit)] == ["Q6_K"]
    Lineage.objects.create(
        child=commit.repo, parent_repo_id="acme/base", relation="finetune", evidence="declared"
    )
    assert wanted_recipes(commit) == []


@pytest.mark.django_db
def test_a_policy_says_only_what_can_be_done() -> None:
    for recipes, numbers in ((["Q9_Z"], None), ([], None), (["Q8_0"], 0)):
        with pytest.raises(NamingError):
            save_policy("bad", recipes, max_parameters=numbers)
    assert not Policy.objects.exists()
