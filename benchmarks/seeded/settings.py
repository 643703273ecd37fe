"""Holdfast's own settings, with the seeding command and the empty view added."""

from registry.settings import *  # noqa: F403  # all of them, whatever there will be
from registry.settings import INSTALLED_APPS

INSTALLED_APPS = ["benchmarks.seeded", *INSTALLED_APPS]
ROOT_URLCONF = "benchmarks.seeded.urls"
