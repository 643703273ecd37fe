"""What a check with many questions found: everything is asked, the worst answer decides, all are kept."""

from dataclasses import dataclass, field
from typing import Any

from conversion.inference.report import Check


@dataclass
class Findings:
    """Faults in the order they were found, as (words, code) and words; `value` is what the report shows."""

    value: dict[str, Any] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    praise: list[str] = field(default_factory=list)

    def fail(self, words: str, code: str) -> None:
        self.failures.append((words, code))

    def warn(self, words: str) -> None:
        self.warnings.append(words)

    def approve(self, words: str) -> None:
        self.praise.append(words)

    def write(self, check: Check) -> None:
        """The verdict, with the first fault of the worst kind as its sentence and the others in its value."""
        others = [words for words, _ in self.failures] + self.warnings
        value = self.value | ({"also": others[1:]} if len(others) > 1 else {})
        if self.failures:
            words, code = self.failures[0]
            check.fail(words, value, code=code)
        elif self.warnings:
            check.warn(self.warnings[0], value)
        else:
            check.pass_("; ".join(self.praise), value)
