"""`manage.py jobs`: what runs, what waits, what failed; cancel and retry."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from registry import work
from registry.management.base import HoldfastCommand
from registry.models import Job


class Command(HoldfastCommand):
    help = "List the jobs that run, wait or failed (newest first); cancel or retry one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", choices=["list", "cancel", "retry"], default="list")
        parser.add_argument("job", nargs="?", type=int, help="number of the job to cancel or retry")
        parser.add_argument("--all", action="store_true", help="also those that succeeded or were cancelled")
        parser.add_argument("--limit", type=int, default=200, help="at most so many (default %(default)s)")
        parser.add_argument("--json", action="store_true", help="a JSON list on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list(options)
        elif options["job"] is None:
            raise CommandError(f"which job? manage.py jobs {options['action']} NUMBER")
        else:
            self.stdout.write(
                _cancel(options["job"]) if options["action"] == "cancel" else _retry(options["job"])
            )

    def _list(self, options: dict[str, Any]) -> None:
        jobs = Job.objects.order_by("-pk")
        if not options["all"]:
            jobs = jobs.filter(state__in=["queued", "running", "failed"])
        jobs = jobs[: options["limit"]]
        if options["json"]:
            self.stdout.write(json.dumps([job.as_json() for job in jobs], cls=DjangoJSONEncoder, indent=1))
            return
        _print_table(list(jobs))


def _cancel(number: int) -> str:
    if not work.cancel(number):
        raise CommandError(f"job {number} is not queued or running: there is nothing to cancel")
    return f"job {number} will not go on"


def _retry(number: int) -> str:
    job = work.retry(number)
    if job is None:
        raise CommandError(f"job {number} has not failed and was not cancelled: there is nothing to retry")
    return f"job {job.pk} does the work of job {number}"


def _print_table(jobs: list[Job]) -> None:
    if not jobs:
        Console(stderr=True).print("No job runs, waits or failed. `jobs --all` shows the finished ones.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, align in [("job", "right"), ("state", "left"), ("what", "left"), ("done", "right")]:
        table.add_column(title, justify="right" if align == "right" else "left", overflow="fold")
    for job in jobs:
        table.add_row(str(job.pk), job.state, _what(job), _done(job))
    Console().print(table)


def _what(job: Job) -> Text:
    # Text, not markup: labels and messages hold names that strangers chose.
    return Text(job.label if not job.error_message else f"{job.label}\n{job.error_code}: {job.error_message}")


def _done(job: Job) -> str:
    if job.bytes_total:
        return f"{decimal(job.bytes_done)} of {decimal(job.bytes_total)}"
    return decimal(job.bytes_done) if job.bytes_done else ""
