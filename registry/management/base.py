"""What our shell commands have in common."""

from django.core.management.base import BaseCommand

OURS = "holdfast"
"""The tag of the checks in registry/checks.py."""


class HoldfastCommand(BaseCommand):
    """A command that looks at our own configuration first, and not at every URL and model, which takes a second."""

    requires_system_checks: tuple[str, ...] = (OURS,)
