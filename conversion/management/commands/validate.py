"""`manage.py validate`: judges files against their parents, here and now, or hands that to the workers."""

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from conversion.inference.table import report_lines
from conversion.management.targets import Target, find_targets
from conversion.revalidation import submit_stale
from registry.foreground import FAILED, USAGE, refuse_unfinished, run_with_bar
from registry.management.base import HoldfastCommand
from registry.models import Job, Validation

EPILOG = """\
TARGET is one of
  17                              the artifact with that number
  org/name[@revision]             every artifact made of that commit (main without a revision)
  org/name[@revision]:Q8_0        the one of that type
  org/name-GGUF[:Q8_0]            what is published in that repo
  org/name-GGUF[@revision]        of a mirrored repo: every GGUF file in it; after a colon a type or a file name.
                                  Each is judged against the base that the repo declares, if it is held here

A file that has its verdict already is shown, not judged once more; --again judges it anew and adds a report.
An artifact that passes its gate for the first time is published. One file is shown with its whole report, several
as a table. --stale queues what is due again: old verdicts, and those of another engine build or other limits.

Exit status: 0 all passed, or queued; 1 a file did not pass or a job failed; 2 the command line is wrong;
130 interrupted: the job goes on when a worker runs or the command is repeated.
"""


class Command(HoldfastCommand):
    help = "Run artifacts in a sandbox, compare them with their exact parent, publish those that pass."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", metavar="TARGET", nargs="?", help="which files; see below")
        parser.add_argument(
            "--parent", metavar="REPO[@REV]", help="judge files against this commit; '' for no parent at all"
        )
        parser.add_argument("--stale", action="store_true", help="queue whatever is due to be judged again")
        parser.add_argument("--limit", type=int, default=100, help="with --stale: at most so many (100)")
        parser.add_argument("--again", action="store_true", help="judge anew what has a verdict already")
        parser.add_argument("--report", action="store_true", help="whole reports, also of several artifacts")
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument("--json", action="store_true", help="artifacts with their reports as a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["stale"] == bool(options["target"]):
            raise CommandError("name a TARGET, or --stale for whatever is due", returncode=USAGE)
        if options["stale"]:
            self._say_stale(submit_stale(options["limit"]), options)
            return
        targets = find_targets(options["target"], options["parent"])
        outcomes = [_judge(target, options) for target in targets]
        if options["json"]:
            self.stdout.write(json.dumps([one.as_json() for one in outcomes], indent=1, default=str))
        elif options["report"] or len(outcomes) == 1:
            self._show_reports(outcomes)
        else:
            _print_table([one.as_json() for one in outcomes])
        _conclude(outcomes, options["enqueue"])
        if not options["json"]:
            what = "queued" if options["enqueue"] else "passed"
            self.stdout.write(f"{len(outcomes)} of {len(outcomes)} files {what}")

    def _say_stale(self, jobs: list[Job], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps([job.as_json() for job in jobs], indent=1, default=str))
        else:
            self.stdout.write(f"{len(jobs)} verdicts are due; `manage.py jobs` shows their jobs")

    def _show_reports(self, outcomes: list["Outcome"]) -> None:
        for one in outcomes:
            commit, artifact = one.target.commit, one.target.artifact
            self.stdout.write(f"{one.target.path} of {commit.repo.repo_id}@{commit.commit_hash[:8]}")
            for line in report_lines(one.validation.report) if one.validation else ():
                self.stdout.write(line)
            if published := artifact.published_in if artifact else None:
                self.stdout.write(f"  published in {published.repo.repo_id}@{published.commit_hash[:8]}")


@dataclass(frozen=True)
class Outcome:
    """What is known of one file when the command ends: its newest verdict, and the job if one was needed."""

    target: Target
    validation: Validation | None
    job: Job | None

    def as_json(self) -> dict[str, Any]:
        one, target = self.validation, self.target
        artifact, parent = target.artifact, target.parent
        return {
            "artifact": artifact.pk if artifact else None, "path": target.path, "recipe": target.recipe,
            "repo_id": target.commit.repo.repo_id, "sha256": target.blob.sha256,
            "parent": f"{parent.repo.repo_id}@{parent.commit_hash}" if parent else None,
            "size_bytes": target.blob.size_bytes, "state": artifact.state if artifact else None,
            "verdict": one.verdict if one else "untested", "passed": bool(one and one.passed),
            "reason": one.reason if one else "", "mean_kld": one and one.mean_kld,
            "top1_agreement": one and one.top1_agreement, "judged_at": one and one.created_at,
            "report_sha256": one and one.report_sha256, "job": self.job.as_json() if self.job else None,
            "report": one.report if one else None,
        }  # fmt: skip


def _judge(target: Target, options: dict[str, Any]) -> Outcome:
    """The settled verdict if there is one and no new one was asked for; otherwise a job's, worked on here."""
    if not options["again"] and (settled := target.settled()):
        return Outcome(target, settled, None)
    job = target.request(send_nudge=options["enqueue"])
    if not options["enqueue"]:
        job = run_with_bar(job)
        if target.artifact:
            target.artifact.refresh_from_db()
    row = Validation.objects.filter(pk=job.result.get("validation", 0)).first()
    return Outcome(target, row, job)


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
            f"{len(refused)} of {len(outcomes)} files did not pass: {first['path']} is {first['verdict']}: "
            f"{first['reason']}", returncode=FAILED,
        )  # fmt: skip


def _print_table(files: list[dict[str, Any]]) -> None:
    """One line a file on standard output: name, size, verdict, and its distance from the parent."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", overflow="fold")
    for title in ("size", "mean KLD", "same token"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for one in files:
        kld, same = one["mean_kld"], one["top1_agreement"]
        table.add_row(
            Text(one["path"]), decimal(one["size_bytes"]), "" if kld is None else f"{kld:.2g}",
            "" if same is None else f"{same:.1%}", one["verdict"],
        )  # fmt: skip
    Console().print(table)
