"""Importance matrices: taken in, measured, named by recipes, and part of what an artifact is."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from conversion.convert import submit_conversion
from conversion.imatrices import NoImatrix, find_imatrix, take_in_imatrix
from conversion.inference.importance import measure_importance, write_importance
from conversion.recipes import Choice
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.models import Artifact, Blob, Imatrix, Job
from registry.work import run_job
from tests.conversion.artifacts import make_artifact, sample_commit

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = "And Abraham buried Sarah in the cave of the field of Machpelah before Mamre. " * 30


@pytest.fixture(scope="module")
def measured(converted, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("imatrix") / "sarah.gguf"
    write_importance(measure_importance(converted("F32"), TEXT, "sarah.txt", max_windows=1), path)
    return path


def work_on(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


def test_a_matrix_is_kept_once_and_found_by_its_digest(measured: Path) -> None:
    commit = sample_commit()
    row = take_in_imatrix(blob_store(), commit, measured)
    assert take_in_imatrix(blob_store(), commit, measured) == row
    assert (row.dataset, row.n_chunks, row.n_entries, row.made_here) == ("sarah.txt", 1, 21, False)
    assert blob_store().read(blob_key(row.blob.sha256)) == measured.read_bytes()
    assert find_imatrix(commit, "newest") == find_imatrix(commit, row.blob.sha256[:8]) == row
    with pytest.raises(NoImatrix, match=row.blob.sha256[:12]):
        find_imatrix(commit, "ffffffff")


@pytest.mark.one_backend
def test_it_changes_the_bytes_and_the_recipe_names_it(measured: Path) -> None:
    commit = sample_commit()
    row = take_in_imatrix(blob_store(), commit, measured)
    kind = Choice.of("Q4_K_M").file_type
    job = work_on(submit_conversion(commit, Choice(kind), Choice(kind, imatrix=row.blob.sha256)))
    assert job.state == "succeeded", job.error_message
    plain, weighted = job.result["artifacts"]
    assert plain["sha256"] != weighted["sha256"]
    artifact = Artifact.objects.select_related("recipe").get(pk=weighted["artifact"])
    assert artifact.recipe.content["imatrix"] == row.blob.sha256
    assert artifact.path == f"base-f32-{artifact.recipe.name}.gguf"


@pytest.mark.one_backend
def test_a_type_that_needs_one_is_refused_without(measured: Path) -> None:
    commit = sample_commit()
    job = work_on(submit_conversion(commit, Choice.of("Q2_K_S")))
    assert (job.state, job.error_code) == ("failed", "imatrix-required")
    row = take_in_imatrix(blob_store(), commit, measured)
    job = work_on(submit_conversion(commit, Choice(Choice.of("Q2_K_S").file_type, imatrix=row.blob.sha256)))
    assert job.state == "succeeded", job.error_message


def test_the_command_measures_lists_and_takes_in(converted, measured: Path, tmp_path: Path) -> None:
    commit = sample_commit()
    make_artifact(commit, "F16", converted("F16"))
    (tmp_path / "calibration.txt").write_text(TEXT)
    out = StringIO()
    call_command(
        "imatrix",
        "measure",
        "tinyfamily/base-f32:F16",
        str(tmp_path / "calibration.txt"),
        "--windows",
        "1",
        stdout=out,
    )
    assert "21 weights, 1 windows, calibration.txt" in out.getvalue()
    call_command("imatrix", "add", "tinyfamily/base-f32", str(measured), stdout=out)
    listed = StringIO()
    call_command("imatrix", "list", "tinyfamily/base-f32", "--json", stdout=listed)
    assert [(one["made_here"], one["n_entries"]) for one in json.loads(listed.getvalue())] == [
        (False, 21),
        (True, 21),
    ]


def test_what_is_no_matrix_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    sample_commit()
    n_blobs = Blob.objects.count()
    (tmp_path / "bad.dat").write_bytes(b"\xff" * 64)
    with pytest.raises(CommandError, match="im-"):
        call_command("imatrix", "add", "tinyfamily/base-f32", str(tmp_path / "bad.dat"), stdout=StringIO())
    assert (Imatrix.objects.count(), Blob.objects.count()) == (0, n_blobs)
