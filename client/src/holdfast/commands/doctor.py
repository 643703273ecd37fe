"""`holdfast doctor`"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import asdict

from holdfast.diagnosing import FAIL, WARN, Finding, all_findings, disk, network, surroundings
from holdfast.errors import FAILED, OK
from holdfast.output import Output, width
from holdfast.settings import Settings
from holdfast.text import count

DESCRIPTION = (
    "Look at what a pull depends on: disk, links, indexes, token, clock, proxies, variables. 1 if one fails."
)
NAME_WIDTH = 12
INDENT = 2 + 4 + 2 + NAME_WIDTH + 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`doctor` takes none."""


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """A line for everything that was looked at, as it is found. 1 if something fails."""
    checks = [surroundings.check(settings), disk.check(settings), network.check(settings, out)]
    found = []
    for finding in all_findings(checks):
        found.append(finding)
        _tell(finding, out)
    failed = sum(finding.verdict == FAIL for finding in found)
    warned = sum(finding.verdict == WARN for finding in found)
    out.json({"ok": not failed, "checks": [asdict(finding) for finding in found]})
    out.note(f"{count(failed, 'problem')}, {count(warned, 'warning')}.")
    return FAILED if failed else OK


def _tell(finding: Finding, out: Output) -> None:
    """The words in a column of their own; nothing is cut, because an address or a path must be readable."""
    lines = _wrapped(finding.text) + (_wrapped(finding.hint) if finding.hint else [])
    for number, line in enumerate(lines):
        head = f"  {finding.verdict:4}  {finding.name:{NAME_WIDTH}}  " if number == 0 else " " * INDENT
        out.result(head + line)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width() - INDENT, break_long_words=False, break_on_hyphens=False)
