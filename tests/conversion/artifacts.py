"""Artifacts for tests of judging and publishing: real bytes in the store, real rows, no conversion job needed."""

import dataclasses
from pathlib import Path

from conversion.inference.fidelity import Figures
from conversion.inference.report import Report
from conversion.recipes import Choice
from registry.models import Artifact, Commit, Job
from registry.work import Lease, submit
from tests.checkpoints import Content, read_folder, record_commit, store_blob
from tests.conversion.inference.ggufs import SAMPLES

FIGURES = Figures(1524, 9.1e-5, 2.6e-6, 5e-5, 4e-4, 1e-3, 0.992, 1e-4, 17.57, 17.58, 0.002)


def sample_commit(sample: str = "base-f32", repo_id: str = "", **facts: object) -> Commit:
    """A checkpoint of the sample family, mirrored."""
    return record_commit(repo_id or f"tinyfamily/{sample}", read_folder(SAMPLES / sample), **facts)


def make_artifact(source: Commit, recipe: str, content: Content) -> Artifact:
    """An artifact that is not validated yet, with these bytes whatever its name promises."""
    choice = Choice.of(recipe)
    return Artifact.objects.create(
        recipe=choice.row(), source=source, path=choice.path(source), blob=store_blob(content)
    )


def small_artifact(source: Commit, recipe: str) -> Artifact:
    return make_artifact(source, recipe, f"the bytes of {source.pk} {recipe}".encode())


def passing_report(**figures: float) -> Report:
    """A report that lets an artifact be published."""
    report = Report(artifact={}, figures=dataclasses.replace(FIGURES, **figures))
    report.checks["fidelity"].pass_("says what its parent says")
    return report


def held_lease(artifact: Artifact) -> Lease:
    """The lease of a running validate job, as a worker holds it."""
    job = submit(
        "validate",
        key=f"artifact:{artifact.pk}",
        label="validate",
        params={"artifact": artifact.pk},
        send_nudge=False,
    )
    assert Job.objects.claim(job.pk, "test")
    return Lease(Job.objects.get(pk=job.pk))


def part_files(folder: Path) -> list[Path]:
    """What is left in a work folder, at any depth."""
    return [path for path in folder.rglob("*") if path.is_file()]
