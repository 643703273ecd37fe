"""A report: every check with its own verdict, and the verdict on the whole. Never collapses unlike things.

| verdict | says |
|---|---|
| verified | it says what its parent says, within the limits of its class |
| loads | it loads and its logits are sane, but there was no parent to compare with |
| partial | the tensors are sound, but not all of it was run; `level` says how far it went |
| damaged | a check failed: bytes, tensors, load, tokenizer, logits, or the distance from the parent |
| unsupported | the engine does not know this architecture; nothing is said of the file |
| untested | the engine is missing or broken; nothing is said of the file |
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from conversion.inference.engine import EngineReport
from conversion.inference.fidelity import Figures
from conversion.inference.limits import Yardstick
from conversion.inference.subjects import Subject

SCHEMA = 2
CHECKS = ["integrity", "completeness", "tensors", "tokenizer", "load", "forward", "fidelity", "cost"]
"""In this order; after the first failure the rest is skipped."""


@dataclass
class Check:
    """One question and its answer: pass, warn, fail, skipped, or error (this machine could not ask)."""

    id: str
    verdict: str = "skipped"
    summary: str = ""
    value: Any = None
    limit: Any = None
    seconds: float = 0.0
    code: str = ""

    def pass_(self, summary: str, value: Any = None, limit: Any = None) -> None:
        self._set("pass", summary, value, limit)

    def warn(self, summary: str, value: Any = None, limit: Any = None) -> None:
        self._set("warn", summary, value, limit)

    def fail(self, summary: str, value: Any = None, limit: Any = None, *, code: str = "") -> None:
        self._set("fail", summary, value, limit, code)

    def skip(self, summary: str) -> None:
        self._set("skipped", summary)

    def error(self, summary: str, value: Any = None, *, code: str) -> None:
        self._set("error", summary, value, code=code)

    def _set(self, verdict: str, summary: str, value: Any = None, limit: Any = None, code: str = "") -> None:
        self.verdict, self.summary, self.value, self.limit, self.code = verdict, summary, value, limit, code

    def as_json(self) -> dict[str, Any]:
        names = ["id", "verdict", "summary", "value", "limit", "code"]
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value not in (None, "")} | {
            "seconds": round(self.seconds, 3)
        }


@dataclass
class Sample:
    """A greedy continuation by both models, side by side: for the eye, never the verdict on a quantised file."""

    prompt: str
    parent: str
    artifact: str
    n_equal_tokens: int

    def as_json(self) -> dict[str, Any]:
        return vars(self).copy()


@dataclass
class Report:
    """What was found of one artifact.

    `figures` are of the texts that the limits hold for, `by_text` of each alone. `divergence` says how the KL
    divergence was computed: in full, or as a lower bound from a reading. `level` says how far a partial verdict
    reaches: `tensors`, `first 4 of 80 layers`.
    """

    artifact: dict[str, Any]
    subject: Subject | None = None
    parent: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=lambda: {name: Check(name) for name in CHECKS})
    engines: dict[str, EngineReport] = field(default_factory=dict)
    isolation: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    limits_version: int = 0
    limits_class: str = ""
    level: str = ""
    divergence: str = ""
    figures: Figures | None = None
    by_text: dict[str, Figures] = field(default_factory=dict)
    yardstick: Yardstick | None = None
    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0

    @contextmanager
    def check(self, name: str) -> Iterator[Check]:
        """The check of that name; the time in the body is added to it."""
        check, started = self.checks[name], perf_counter()
        try:
            yield check
        finally:
            check.seconds += perf_counter() - started

    @property
    def stopped(self) -> bool:
        """True after a failure or an error: nothing further is asked."""
        return any(check.verdict in ("fail", "error") for check in self.checks.values())

    @property
    def verdict(self) -> str:
        for check in self.checks.values():
            if check.verdict == "fail":
                return "unsupported" if check.code == "unsupported-architecture" else "damaged"
            if check.verdict == "error":
                unable = check.code in ("engine-out-of-memory", "engine-timeout")
                return "partial" if unable and self.checks["tensors"].verdict == "pass" else "untested"
        if self.is_cut:
            return "partial"
        if self._passed("fidelity"):
            return "verified"
        if self._passed("forward"):
            return "loads"
        return "partial" if self._passed("tensors") else "untested"

    @property
    def is_cut(self) -> bool:
        """Whether what ran was a part of the model, as `level` says."""
        return self.level not in ("", "tensors")

    def _passed(self, name: str) -> bool:
        return self.checks[name].verdict in ("pass", "warn")

    @property
    def reason(self) -> str:
        """One sentence for a person: the first failure, else the finding that the verdict rests on."""
        for check in self.checks.values():
            if check.verdict in ("fail", "error"):
                return check.summary
        for name in ("fidelity", "forward"):
            if self._passed(name):
                return (f"partial ({self.level}): " if self.is_cut else "") + self.checks[name].summary
        return self._why_not_run() if self._passed("tensors") else "nothing was tested"

    def _why_not_run(self) -> str:
        """Of an artifact whose tensors alone were judged."""
        asked = (self.checks[name] for name in ("load", "forward"))
        why = next((one.summary for one in asked if one.verdict == "skipped" and one.summary), "")
        tensors = self.checks["tensors"]
        return f"its tensors are sound; {why}" if why and tensors.verdict == "pass" else tensors.summary

    @property
    def engine(self) -> str:
        report = self.engines.get("artifact")
        return str(report) if report else ""

    def as_json(self) -> dict[str, Any]:
        """The whole report; the same inputs give the same JSON but for the seconds and the cost."""
        found: dict[str, Any] = _plain({
            "schema": SCHEMA,
            "verdict": self.verdict,
            "reason": self.reason,
            "level": self.level or ("tensors" if self.verdict == "partial" else ""),
            "artifact": self.artifact,
            "subject": self.subject.as_json() if self.subject else None,
            "parent": self.parent,
            "checks": [check.as_json() for check in self.checks.values()],
            "engines": {role: report.as_json() for role, report in self.engines.items()},
            "isolation": self.isolation,
            "texts": self.texts,
            "limits": {"version": self.limits_version, "class": self.limits_class},
            "divergence": self.divergence,
            "figures": self.figures.as_json() if self.figures else None,
            "by_text": {text: figures.as_json() for text, figures in self.by_text.items()},
            "yardstick": self.yardstick.as_json() if self.yardstick else None,
            "samples": [sample.as_json() for sample in self.samples],
            "seconds": round(self.seconds, 3),
        })  # fmt: skip
        return found


def canonical_json(report: Mapping[str, Any]) -> bytes:
    """The one spelling of a report; its sha256 is the report's name.

    UTF-8, keys sorted by code point, no spaces, each float the shortest that reads back the same. What JSON cannot say
    (infinity, NaN) is null; half a surrogate pair is U+FFFD, and so is NUL, which no text of a database may hold.
    """
    text = json.dumps(
        _plain(report), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def _plain(value: Any) -> Any:
    """The same of what JSON can say."""
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
