"""`manage.py scheduler`: nudges the sweeper. Run exactly one."""

from typing import Any

from django.core.management.base import BaseCommand

from registry.celery import app


class Command(BaseCommand):
    help = "Send the periodic nudges: the sweep that re-queues what died. Run exactly one."

    def handle(self, *args: Any, **options: Any) -> None:
        app.start(["--quiet", "beat", "-l", "WARNING"])
