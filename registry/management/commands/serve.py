"""`manage.py serve`: web, worker and scheduler under one supervisor: all that one machine needs."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command

from registry.management.base import HoldfastCommand
from registry.supervisor import Child, Supervisor


class Command(HoldfastCommand):
    help = (
        "Run everything on this machine: web, worker and scheduler, restarted when they die, ended together by "
        "Ctrl-C. Brings the database up to date first."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="default %(default)s")
        parser.add_argument("--concurrency", type=int, default=4, help="jobs at once (default %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        address = ["--host", options["host"], "--port", str(options["port"])]
        self.stderr.write(f"Holdfast on http://{options['host']}:{options['port']}/ (Ctrl-C ends it)")
        Supervisor(
            [
                Child("web", _manage("web", *address)),
                Child("worker", _manage("worker", "--concurrency", str(options["concurrency"]))),
                Child("scheduler", _manage("scheduler")),
            ]
        ).run()


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, sys.argv[0], *arguments]
