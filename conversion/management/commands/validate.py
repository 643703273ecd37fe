"""`manage.py validate`: judges artifacts against their parents, here and now, or hands that to the workers."""

import json
import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from conversion.inference.table import report_lines
from conversion.validation import submit_validation
from registry.foreground import FAILED, INTERRUPTED, USAGE, run_with_bar
from registry.models import Artifact, Job, Repo
from registry.revisions import RevisionNotFound, resolve_revision

EPILOG = """\
TARGET is one of
  17                              the artifact with that number
  org/name[@revision]             every artifact made of that commit (main without a revision)
  org/name[@revision]:Q8_0        the one of that type
  org/name-GGUF[:Q8_0]            what is published in that repo

What passes for the first time is published. Repeating the command judges again and adds a report.

Exit status: 0 all verified, or queued with --enqueue; 1 an artifact is not verified or a job failed; 2 the command
line is wrong; 130 interrupted: the job goes on when a worker runs or the command is repeated.
"""
_TARGET = re.compile(r"(?P<repo>[^@:]+/[^@:]+)(?:@(?P<revision>[^:]+))?(?::(?P<recipe>.+))?")


class Command(BaseCommand):
    help = "Run artifacts in a sandbox, compare them with their exact parent, publish those that pass."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", metavar="TARGET", help="which artifacts; see below")
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument("--json", action="store_true", help="jobs and reports as a JSON list on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        artifacts = find_artifacts(options["target"])
        outcomes = [self._judge(artifact, options) for artifact in artifacts]
        if options["json"]:
            self.stdout.write(json.dumps(outcomes, indent=1, default=str))
        _conclude(outcomes, options["enqueue"])
        if not options["json"]:
            what = "queued" if options["enqueue"] else "verified"
            self.stdout.write(f"{len(outcomes)} of {len(outcomes)} artifacts {what}")

    def _judge(self, artifact: Artifact, options: dict[str, Any]) -> dict[str, Any]:
        """The job, with the report that it left behind; shown at once unless JSON was asked for."""
        job = submit_validation(artifact, send_nudge=options["enqueue"])
        if not options["enqueue"]:
            job = run_with_bar(job)
        report = _report_of(artifact, job)
        if not options["json"]:
            self._show(artifact, job, report)
        return job.as_json() | {"report": report}

    def _show(self, artifact: Artifact, job: Job, report: dict[str, Any] | None) -> None:
        self.stdout.write(
            f"{artifact.path} of {artifact.source.repo.repo_id}@{artifact.source.commit_hash[:8]}"
        )
        for line in report_lines(report) if report else ():
            self.stdout.write(line)
        if published := job.result.get("published_in"):
            self.stdout.write(f"  published in {published}@{job.result['commit'][:8]}")
        if not job.is_finished:
            self.stdout.write(f"  job {job.pk} is queued")


def find_artifacts(target: str) -> list[Artifact]:
    """The artifacts that a person means; CommandError, saying what there is, when there is none."""
    rows = Artifact.objects.select_related("recipe", "source__repo").order_by("path")
    if target.isdigit():
        return _some(rows.filter(pk=int(target)), f"there is no artifact {target}")
    match = _TARGET.fullmatch(target)
    if match is None:
        raise CommandError(
            f"{target!r} is neither a number nor like org/name[@revision][:type]", returncode=USAGE
        )
    repo = Repo.objects.by_id(match["repo"]).first()
    if repo is None:
        raise CommandError(f"there is no repo {match['repo']} here; mirror it first", returncode=USAGE)
    of_repo = _of_repo(rows, repo, match["revision"])
    if not (recipe := match["recipe"]):
        return _some(of_repo, f"nothing was made of {target} yet; convert it first")
    there = ", ".join(sorted({artifact.recipe.name for artifact in of_repo})) or "nothing"
    return _some(
        of_repo.filter(recipe__name__iexact=recipe), f"{target}: no such type here; there is {there}"
    )


def _of_repo(rows: QuerySet[Artifact], repo: Repo, revision: str | None) -> QuerySet[Artifact]:
    published = rows.filter(published_in__repo=repo)
    if revision is None and published.exists():
        return published
    try:
        commit = resolve_revision(repo, revision or "main")
    except RevisionNotFound as error:
        raise CommandError(str(error), returncode=USAGE) from None
    return rows.filter(source=commit)


def _some(rows: QuerySet[Artifact], otherwise: str) -> list[Artifact]:
    found = list(rows)
    if not found:
        raise CommandError(otherwise, returncode=USAGE)
    return found


def _report_of(artifact: Artifact, job: Job) -> dict[str, Any] | None:
    """The report that this job wrote, if it came to a verdict."""
    row = artifact.validations.filter(pk=job.result.get("validation", 0)).first()
    return dict(row.report) if row else None


def _conclude(outcomes: list[dict[str, Any]], enqueued: bool) -> None:
    """Raises CommandError with the documented exit status unless everything is as it should be."""
    if enqueued:
        return
    if unfinished := [one for one in outcomes if one["state"] in ("queued", "running")]:
        raise CommandError(
            f"interrupted: {unfinished[0]['label']} goes on when a worker runs", returncode=INTERRUPTED
        )
    if failed := [one for one in outcomes if one["state"] != "succeeded"]:
        why = failed[0]["error_message"] or f"{failed[0]['label']} was {failed[0]['state']}"
        raise CommandError(f"{failed[0]['error_code'] or failed[0]['state']}: {why}", returncode=FAILED)
    if refused := [one for one in outcomes if not one["result"].get("passed")]:
        first = refused[0]["result"]
        raise CommandError(
            f"{len(refused)} of {len(outcomes)} artifacts are not verified: {first['path']} is {first['verdict']}: "
            f"{first['reason']}", returncode=FAILED,
        )  # fmt: skip
