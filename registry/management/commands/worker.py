"""`manage.py worker`: works on jobs until it is told to end."""

import warnings
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from registry.celery import app
from registry.management.base import HoldfastCommand
from registry.models.job import QUEUES


class Command(HoldfastCommand):
    help = (
        "Work on jobs. On SIGTERM every job stops at its next checkpoint and goes back to the queue; a worker "
        "that is killed loses nothing either, its jobs are taken over when their leases run out."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queues", default=",".join(QUEUES), help="comma-separated, of: %(default)s")
        parser.add_argument("--concurrency", type=int, default=4, help="jobs at once (default %(default)s)")
        parser.add_argument(
            "--pool", default="threads", choices=["threads", "prefork", "solo"], help="default %(default)s"
        )
        parser.add_argument(
            "--with-scheduler", action="store_true", help="run the scheduler inside (one worker only)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        unknown = set(options["queues"].split(",")) - set(QUEUES)
        if unknown:
            raise CommandError(f"unknown queue {', '.join(sorted(unknown))}; there are {', '.join(QUEUES)}")
        # Celery's advice about root is an operator's matter, and a container has no other user.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
        command = [
            "--quiet", "worker", "-Q", options["queues"], "-c", str(options["concurrency"]), "-P", options["pool"],
            "-O", "fair", "-l", "WARNING", "--without-gossip", "--without-mingle",
        ]  # fmt: skip
        app.worker_main(command + ["-B"] * options["with_scheduler"])
