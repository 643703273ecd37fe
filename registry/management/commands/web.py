"""`manage.py web`: the pages and the Hub-compatible API, served by gunicorn."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings

from registry.management.base import HoldfastCommand


class Command(HoldfastCommand):
    help = "Serve the pages and the API with gunicorn. Put nginx or a load balancer in front of it on the Internet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="default %(default)s")
        parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
        parser.add_argument(
            "--threads", type=int, default=32, help="requests at once per process (default %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # A slow download holds a thread for its whole length, hence many threads; sendfile does the work.
        gunicorn = str(Path(sys.executable).parent / "gunicorn")
        command = [
            gunicorn, "registry.wsgi:application", "--pythonpath", str(settings.BASE_DIR),
            "--bind", f"{options['host']}:{options['port']}",
            "--worker-class", "gthread", "--workers", str(options["workers"]), "--threads", str(options["threads"]),
            "--timeout", "120", "--graceful-timeout", "20", "--keep-alive", "5", "--log-level", "warning",
            "--no-control-socket",
        ]  # fmt: skip
        os.execv(gunicorn, command)
