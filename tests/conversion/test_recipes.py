"""Recipes: equal content, equal digest, on every machine and for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from conversion.convert import submit_wanted
from conversion.naming.file_types import FILE_TYPES
from conversion.recipes import (
    artifact_path,
    digest_of,
    recipe_content,
    recipe_digest,
    recipe_row,
    wanted_recipes,
)
from registry.models import Commit, Job, Recipe
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
    assert len({digest_of(kind) for kind in FILE_TYPES.values()}) == len(FILE_TYPES)


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    content = recipe_content(FILE_TYPES["Q8_0"])
    assert recipe_digest(dict(reversed(content.items()))) == recipe_digest(content)


def test_the_digest_is_the_same_in_another_process() -> None:
    script = "import json,sys; from conversion.recipes import recipe_digest; print(recipe_digest(json.load(sys.stdin)))"
    content = '{"format": "gguf", "file_type": "Q8_0", "b": {"z": 1, "a": "ü"}}'
    printed = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {script}"],
        input=content, text=True, capture_output=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    assert printed.strip() == recipe_digest({"b": {"a": "ü", "z": 1}, "file_type": "Q8_0", "format": "gguf"})


def test_a_changed_converter_is_another_recipe() -> None:
    content = recipe_content(FILE_TYPES["Q8_0"])
    assert recipe_digest(content | {"converter": "holdfast-conversion/2"}) != recipe_digest(content)


@pytest.mark.django_db
def test_a_recipe_has_one_row() -> None:
    assert recipe_row(FILE_TYPES["Q8_0"]) == recipe_row(FILE_TYPES["Q8_0"])
    row = Recipe.objects.get()
    assert (row.name, row.format, row.digest) == ("Q8_0", "gguf", digest_of(FILE_TYPES["Q8_0"]))


@pytest.mark.django_db
def test_artifacts_are_named_as_users_know_them() -> None:
    assert artifact_path(checkpoint(), FILE_TYPES["Q4_0"]) == "Tiny-7B-Q4_0.gguf"


@pytest.mark.django_db
def test_the_policy_names_what_a_checkpoint_should_have(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0", "q4_0"]
    assert [kind.name for kind in wanted_recipes(checkpoint())] == ["Q8_0", "Q4_0"]


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
def test_what_is_wanted_becomes_one_job_each_however_often_it_is_asked(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0", "Q4_0"]
    commit = checkpoint()
    assert [job.pk for job in submit_wanted(commit)] == [job.pk for job in submit_wanted(commit)]
    assert sorted(Job.objects.values_list("params__recipe", flat=True)) == ["Q4_0", "Q8_0"]


@pytest.mark.django_db(transaction=True)
def test_inspection_asks_for_what_the_policy_wants(settings: object) -> None:
    settings.HOLDFAST_AUTO_CONVERT = ["Q8_0"]
    commit = record_commit("tinyfamily/base", SAMPLES / "base-f32")
    job = submit(
        "inspect", key=str(commit.pk), label="inspect", params={"commit": commit.pk}, repo=commit.repo
    )
    run_job(job.pk)
    assert Job.objects.get(kind="convert").params["recipe"] == "Q8_0"
