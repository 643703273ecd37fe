#!/usr/bin/env python3
"""Django's door: migrate, mirror, convert, validate, audit, jobs, serve. `manage.py --help` lists them all."""

import os
import sys

HELP = (
    "`manage.py migrate` makes its tables or brings them up to date; DATABASE_URL and HOLDFAST_DATA say where it is "
    "(docs/operate.md). --traceback shows where it happened."
)


def main() -> None:
    """The command has run. What an operator can mend (a setting, the database) is said in a sentence, exit status 1."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    from django.core.management import execute_from_command_line
    from django.db.utils import OperationalError, ProgrammingError

    from registry.environment import BadSetting

    try:
        execute_from_command_line(sys.argv)
    except BadSetting as error:
        sys.exit(f"bad-setting: {error}")
    except (OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv:
            raise
        why = " ".join(str(error).split()).rstrip(".?")
        sys.exit(f"database-unavailable: the database cannot be used: {why}. {HELP}")


if __name__ == "__main__":
    main()
