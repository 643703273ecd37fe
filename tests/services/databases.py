"""Databases for tests: copies of one that was migrated once, because migrating takes six seconds of CPU.

`python -m tests.run` makes the template for all processes of a run and names it in HOLDFAST_TEST_TEMPLATE; without it
each process makes its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from django.contrib.contenttypes.management import create_contenttypes
from django.core.management.color import Style
from django.db import connection
from django.db.models.signals import post_migrate

from tests.services import postgres

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = "HOLDFAST_TEST_TEMPLATE"


@cache
def migrated_template(server: str | None) -> str:
    """The URL of a migrated database that nobody uses: on the PostgreSQL server, or without one in a SQLite file."""
    if made := os.environ.get(TEMPLATE):
        return made
    return make_template(server, Path(tempfile.mkdtemp(prefix="template-", dir=os.environ["HOLDFAST_DATA"])))


def make_template(server: str | None, folder: Path) -> str:
    url = postgres.create_database(server) if server else f"sqlite:///{folder}/template.sqlite3"
    env = os.environ | {"HOLDFAST_DATA": str(folder / "data"), "DATABASE_URL": url}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v", "0", "--skip-checks"], env=env, cwd=ROOT, check=True
    )
    return url


def copy_template(file: Path) -> None:
    """The file is a migrated SQLite database."""
    shutil.copyfile(migrated_template(None).removeprefix("sqlite:///"), file)


def empty_quickly() -> None:
    """From now on Django's flush, after each test that commits, deletes rows and makes none.

    TRUNCATE gives every table of PostgreSQL new files and takes twenty times as long as deleting a few rows. Content
    types stay, since Django remembers their keys; no test looks at the rows of permissions.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    connection.ops.sql_flush = _deleting  # type: ignore[method-assign]


def _deleting(style: Style, tables: list[str], **_: Any) -> list[str]:
    kept = {"django_content_type"}
    return [f"DELETE FROM {connection.ops.quote_name(table)};" for table in tables if table not in kept]
