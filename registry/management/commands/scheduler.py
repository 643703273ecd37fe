"""`manage.py scheduler`: nudges the sweeper. Run exactly one."""

from typing import Any

from registry.celery import app
from registry.management.base import HoldfastCommand


class Command(HoldfastCommand):
    help = "Send the periodic nudges: the sweep that re-queues what died. Run exactly one."

    def handle(self, *args: Any, **options: Any) -> None:
        app.start(["--quiet", "beat", "-l", "WARNING"])
