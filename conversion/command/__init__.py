"""The stand-alone command line: local files in, local files out; no database, no settings, no Django.

It starts in a few tenths of a second because everything heavy is imported where it is first needed.
"""

from conversion.command.main import main

__all__ = ["main"]
