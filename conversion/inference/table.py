"""A report as text for a terminal: one line a check, the samples side by side, the verdict last."""

from collections.abc import Iterator
from typing import Any

MARKS = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "skipped": "skip", "error": "ERR "}


def report_lines(report: dict[str, Any]) -> Iterator[str]:
    """The lines for `Report.as_json()`; plain ASCII but for the texts of the models themselves."""
    for check in report["checks"]:
        mark, summary = MARKS[check["verdict"]], check.get("summary", "")
        yield f"  {mark}  {check['id']:<10} {check['seconds']:7.2f} s  {summary}".rstrip()
    for sample in report["samples"]:
        yield f"  {sample['prompt']!r} continues"
        yield f"      artifact: {sample['artifact']!r}"
        if sample["parent"]:
            yield f"      parent:   {sample['parent']!r}"
    if engine := report["engines"].get("artifact"):
        yield f"  engine {engine['name']} ({engine['package']} {engine['version']}), {_isolation(report)}"
    if report["parent"].get("reference"):
        yield f"  parent {report['parent']['reference']}"
    yield f"{report['verdict'].upper()}: {report['reason']} ({report['seconds']:.1f} s)"


def _isolation(report: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in report["isolation"].items())
