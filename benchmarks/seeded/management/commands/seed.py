"""`manage.py seed`: very many repos that nobody made, for measuring."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from benchmarks.seeded.seeding import seed
from registry.models import Repo


class Command(BaseCommand):
    help = "Fill the database with repos that nobody made, always the same ones, and the store with their few contents."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repos", type=int, default=100_000, help="how many (default %(default)s)")
        parser.add_argument("--add", action="store_true", help="to the repos that are there already")

    def handle(self, *args: Any, **options: Any) -> None:
        if Repo.objects.exists() and not options["add"]:
            raise CommandError("there are repos in this database already. --add makes more beside them.")
        started = time.monotonic()

        def tell(done: int) -> None:
            if done % 10_000 == 0:
                self.stderr.write(f"{done} repos, {time.monotonic() - started:.0f} s")

        seed(options["repos"], tell)
        self.stdout.write(f"{options['repos']} repos were made in {time.monotonic() - started:.0f} s")
