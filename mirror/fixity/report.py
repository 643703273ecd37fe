"""What an audit found, in words that stay the same: a finding's code is for machines, its message for a person."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

OnProgress = Callable[[str, int, int], None]
"""Told (phase, done, total) now and then: bytes for blobs, commits for manifests."""

NOTICES = {
    "blob-orphan": "The sweeper deletes it after a week, if no manifest names it and no job needs it.",
    "staged-leftover": "A job resumes it, or the sweeper deletes it after a week.",
    "manifest-orphan": "The catalog does not know this commit; it can be recorded again from its manifest.",
    "foreign-object": "Holdfast did not put it there. Move it away, or leave it.",
}
ERRORS = {
    "blob-missing": "Run `audit --repair`: what has an upstream is fetched again. Else restore it from a backup.",
    "blob-damaged": "Run `audit --repair`: what has an upstream is fetched again. Else restore it from a backup.",
    "blob-unreadable": "Look at the disk, then run `audit --repair`.",
    "manifest-missing": "Run `audit --repair`: it is written again from the catalog.",
    "manifest-damaged": "Restore it from a backup, or delete it and run `audit --repair`.",
    "manifest-differs": "Compare it with the catalog by hand: one of the two was changed.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, or worth knowing. `key` is the object in the store."""

    code: str
    key: str
    message: str
    is_repaired: bool = False

    @property
    def is_error(self) -> bool:
        """Errors are lost or wrong bytes; notices are leftovers that harm nobody."""
        return self.code in ERRORS and not self.is_repaired

    @property
    def remedy(self) -> str:
        return "" if self.is_repaired else {**ERRORS, **NOTICES}[self.code]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"is_error": self.is_error, "remedy": self.remedy}


@dataclass
class Report:
    """All of one audit. `is_clean` decides the exit status."""

    n_blobs: int = 0
    n_hashed: int = 0
    bytes_hashed: int = 0
    n_commits: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_error]

    @property
    def is_clean(self) -> bool:
        return not self.errors

    def add(self, code: str, key: str, message: str) -> Finding:
        self.findings.append(Finding(code, key, message))
        return self.findings[-1]

    def replace(self, old: Finding, new: Finding) -> None:
        self.findings[self.findings.index(old)] = new

    def as_json(self) -> dict[str, Any]:
        return {
            "is_clean": self.is_clean,
            "n_blobs": self.n_blobs,
            "n_hashed": self.n_hashed,
            "bytes_hashed": self.bytes_hashed,
            "n_commits": self.n_commits,
            "findings": [finding.as_json() for finding in self.findings],
        }
