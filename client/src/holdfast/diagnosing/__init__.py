"""What could go wrong on this machine, looked at before it does: the checks of `holdfast doctor`.

Each module has a function `check(settings, out)` that yields findings. Nothing is changed but a folder of our own
beside or in the cache, which is gone afterwards. Nothing that was found is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do if it is not well."""

    name: str
    verdict: str
    text: str
    hint: str = ""


def all_findings(checks: list[Iterator[Finding]]) -> Iterator[Finding]:
    """Every finding in order, as it is found."""
    for check in checks:
        yield from check
