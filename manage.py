#!/usr/bin/env python3
"""Django's door: migrate, mirror, convert, validate, audit, jobs, serve. `manage.py --help` lists them all."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
