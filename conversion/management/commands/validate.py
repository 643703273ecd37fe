"""`manage.py validate`: judges artifacts against their parents, here and now, or hands that to the workers."""

import json
import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from conversion.inference.table import report_lines
from conversion.validation import settled_verdict, submit_validation
from registry.foreground import FAILED, USAGE, refuse_unfinished, run_with_bar
from registry.models import Artifact, Job, Repo, Validation
from registry.revisions import RevisionNotFound, resolve_revision

EPILOG = """\
TARGET is one of
  17                              the artifact with that number
  org/name[@revision]             every artifact made of that commit (main without a revision)
  org/name[@revision]:Q8_0        the one of that type
  org/name-GGUF[:Q8_0]            what is published in that repo

An artifact that has its verdict already is shown, not judged once more; --again judges it anew and adds a report.
What passes for the first time is published. One artifact is shown with its whole report, several as a table.

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
        parser.add_argument("--again", action="store_true", help="judge anew what has a verdict already")
        parser.add_argument("--report", action="store_true", help="whole reports, also of several artifacts")
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument("--json", action="store_true", help="artifacts with their reports as a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        artifacts = find_artifacts(options["target"])
        outcomes = [_judge(artifact, options) for artifact in artifacts]
        if options["json"]:
            self.stdout.write(json.dumps([one.as_json() for one in outcomes], indent=1, default=str))
        elif options["report"] or len(outcomes) == 1:
            self._show_reports(outcomes)
        else:
            _print_table([one.as_json() for one in outcomes])
        _conclude(outcomes, options["enqueue"])
        if not options["json"]:
            what = "queued" if options["enqueue"] else "verified"
            self.stdout.write(f"{len(outcomes)} of {len(outcomes)} artifacts {what}")

    def _show_reports(self, outcomes: list["Outcome"]) -> None:
        for one in outcomes:
            commit = one.artifact.source
            self.stdout.write(f"{one.artifact.path} of {commit.repo.repo_id}@{commit.commit_hash[:8]}")
            for line in report_lines(one.validation.report) if one.validation else ():
                self.stdout.write(line)
            if published := one.artifact.published_in:
                self.stdout.write(f"  published in {published.repo.repo_id}@{published.commit_hash[:8]}")


@dataclass(frozen=True)
class Outcome:
    """What is known of one artifact when the command ends: its newest verdict, and the job if one was needed."""

    artifact: Artifact
    validation: Validation | None
    job: Job | None

    def as_json(self) -> dict[str, Any]:
        one = self.validation
        return {
            "artifact": self.artifact.pk, "path": self.artifact.path, "recipe": self.artifact.recipe.name,
            "size_bytes": self.artifact.blob.size_bytes, "state": self.artifact.state,
            "verdict": one.verdict if one else "untested", "passed": bool(one and one.passed),
            "reason": one.reason if one else "", "mean_kld": one and one.mean_kld,
            "top1_agreement": one and one.top1_agreement, "judged_at": one and one.created_at,
            "job": self.job.as_json() if self.job else None, "report": one.report if one else None,
        }  # fmt: skip


def _judge(artifact: Artifact, options: dict[str, Any]) -> Outcome:
    """The settled verdict if there is one and no new one was asked for; otherwise a job's, worked on here."""
    if not options["again"] and (settled := settled_verdict(artifact)):
        return Outcome(artifact, settled, None)
    job = submit_validation(artifact, send_nudge=options["enqueue"])
    if not options["enqueue"]:
        job = run_with_bar(job)
        artifact.refresh_from_db()
    row = artifact.validations.filter(pk=job.result.get("validation", 0)).first()
    return Outcome(artifact, row, job)


def find_artifacts(target: str) -> list[Artifact]:
    """The artifacts that a person means; CommandError, saying what there is, when there is none."""
    rows = Artifact.objects.select_related("recipe", "source__repo", "blob", "published_in__repo").order_by(
        "path"
    )
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


def _conclude(outcomes: list[Outcome], enqueued: bool) -> None:
    """Raises CommandError with the documented exit status unless everything is as it should be."""
    if enqueued:
        return
    jobs = [one.job for one in outcomes if one.job]
    for job in sorted(jobs, key=lambda job: job.is_finished):  # what was interrupted says so first
        refuse_unfinished(job)
    if refused := [one for one in outcomes if not (one.validation and one.validation.passed)]:
        first = refused[0].as_json()
        raise CommandError(
            f"{len(refused)} of {len(outcomes)} artifacts are not verified: {first['path']} is {first['verdict']}: "
            f"{first['reason']}", returncode=FAILED,
        )  # fmt: skip


def _print_table(artifacts: list[dict[str, Any]]) -> None:
    """One line an artifact on standard output: name, size, verdict, and its distance from the parent."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("artifact", overflow="fold")
    for title in ("size", "mean KLD", "same token"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for one in artifacts:
        kld, same = one["mean_kld"], one["top1_agreement"]
        table.add_row(
            Text(one["path"]), decimal(one["size_bytes"]), "" if kld is None else f"{kld:.2g}",
            "" if same is None else f"{same:.1%}", one["verdict"],
        )  # fmt: skip
    Console().print(table)
