"""`manage.py probe`: a hostile engine tries to get out of the sandbox on this machine; nothing may succeed."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings

from conversion.inference.probe import outcome_lines, probe
from registry.management.base import HoldfastCommand


class Command(HoldfastCommand):
    help = (
        "Try to get out of the sandbox in which engines open foreign files: network, secrets, this service's store and "
        "database, other processes, 1 TB of everything, broken answers. Says what refused each attempt, and what this "
        "kernel or container does not grant. Exit status: 0 nothing succeeded, 1 something did."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        outcome = probe(_files_of_the_service())
        text = (
            json.dumps(outcome.as_json(), indent=1) if options["json"] else "\n".join(outcome_lines(outcome))
        )
        self.stdout.write(text)
        if outcome.succeeded:
            raise SystemExit(1)


def _files_of_the_service() -> dict[str, Path]:
    """What the service keeps on this machine: a server elsewhere is behind the network, which is tried anyway."""
    files = {"the folder of data": settings.DATA, "our settings": settings.BASE_DIR / "registry"}
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        files["the database"] = Path(settings.DATABASES["default"]["NAME"])
    if settings.HOLDFAST_BLOBS.startswith("file:"):
        files["the store"] = Path(unquote(urlsplit(settings.HOLDFAST_BLOBS).path))
    return {name: path for name, path in files.items() if path.exists()}
