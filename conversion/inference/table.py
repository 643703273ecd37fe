"""A report as text for a terminal: a line a check, the texts, the samples side by side, the verdict last."""

import textwrap
from collections.abc import Iterator
from typing import Any

MARKS = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "skipped": "skip", "error": "ERR "}
WIDTH = 80


def report_lines(report: dict[str, Any], width: int = WIDTH) -> Iterator[str]:
    """The lines for `Report.as_json()`, at most `width` columns; ASCII but for what models and messages say."""
    for check in report["checks"]:
        mark, summary = MARKS[check["verdict"]], check.get("summary", "")
        yield from _wrapped(f"  {mark}  {check['id']:<12} {check['seconds']:7.2f} s  ", summary, width)
    yield from _texts(report.get("by_text") or {})
    for sample in report["samples"]:
        yield f"  {sample['prompt']!r} continues"
        yield from _wrapped("      artifact: ", repr(sample["artifact"]), width)
        if sample["parent"]:
            yield from _wrapped("      parent:   ", repr(sample["parent"]), width)
    if engine := report["engines"].get("artifact"):
        yield from _wrapped("  engine ", f"{engine['name']} ({engine['package']} {engine['version']})", width)
        yield from _wrapped("  sandbox ", _isolation(report), width)
    if report["parent"].get("reference"):
        yield from _wrapped("  parent ", str(report["parent"]["reference"]), width)
    yield from _wrapped(
        f"{report['verdict'].upper()}: ", f"{report['reason']} ({report['seconds']:.1f} s)", width
    )


def comparison_lines(comparison: dict[str, Any], width: int = WIDTH) -> Iterator[str]:
    """What changed since another report, and why the figures of the two cannot be compared if they cannot."""
    for change in comparison["changes"]:
        yield from _wrapped("  changed ", f"{change['name']}: {change['before']} -> {change['after']}", width)
    for obstacle in comparison["obstacles"]:
        yield from _wrapped("  figures are not comparable: ", obstacle, width)
    if not comparison["changes"]:
        yield "  nothing changed since that report"


def _texts(by_text: dict[str, dict[str, float]]) -> Iterator[str]:
    if by_text:
        yield f"  {'text':<14} {'positions':>9} {'PPL parent':>11} {'PPL artifact':>12} {'mean KLD':>10}  same token"
    for text, one in by_text.items():
        ppl = f"{one['ppl_parent'] or 0:>11.4g} {one['ppl_artifact'] or 0:>12.4g}"
        yield f"  {text:<14} {one['n_positions']:>9,} {ppl} {one['mean_kld']:>10.2g}  {one['top1_agreement']:.1%}"


def _wrapped(begin: str, text: str, width: int) -> Iterator[str]:
    """The text after its beginning, further lines below it; a word longer than a line stays whole."""
    indent = " " * min(len(begin), width // 2)
    yield from textwrap.wrap(
        begin + text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [begin.rstrip()]


def _isolation(report: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in report["isolation"].items())
