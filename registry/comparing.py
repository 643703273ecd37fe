"""Two reports of the same bytes: what changed, and whether their figures may be compared at all.

Works on the JSON of reports, of any schema; what one of them does not say is not compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FIGURES = {
    "mean_kld": "mean KL divergence", "median_kld": "median KL divergence", "p99_kld": "p99 KL divergence",
    "top1_agreement": "same top token", "ppl_artifact": "perplexity", "rms_dp": "change of the right token",
}  # fmt: skip
SAME_FIGURE = 1e-6
"""Relative: between two processors figures differ by about this much, and nothing has changed."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was. `name` is stable, `words` are for people."""

    name: str
    words: str
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class Comparison:
    """What changed from one report to the next; `obstacles` say why their figures measure different things."""

    changes: tuple[Change, ...]
    obstacles: tuple[str, ...]

    @property
    def is_comparable(self) -> bool:
        return not self.obstacles

    def as_json(self) -> dict[str, Any]:
        return {
            "comparable": self.is_comparable, "obstacles": list(self.obstacles),
            "changes": [change.as_json() for change in self.changes],
        }  # fmt: skip


def compare_reports(before: dict[str, Any], after: dict[str, Any]) -> Comparison:
    """From the older report to the newer. Figures are listed even where they cannot be compared."""
    changes = [*_heads(before, after), *_checks(before, after), *_figures(before, after)]
    return Comparison(tuple(changes), tuple(_obstacles(before, after)))


def _heads(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    yield from _unless_same("verdict", "verdict", before.get("verdict"), after.get("verdict"))
    yield from _unless_same("engine", "engine", engine_of(before), engine_of(after))
    for name, words in {"version": "version of the limits", "class": "class"}.items():
        yield from _unless_same(
            f"limits.{name}", words, _get(before, "limits", name), _get(after, "limits", name)
        )
    yield from _unless_same("parent", "parent", _parent(before), _parent(after))


def _checks(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    old = {check.get("id"): check.get("verdict") for check in before.get("checks") or []}
    for check in after.get("checks") or []:
        name = check.get("id")
        if name in old:
            yield from _unless_same(f"checks.{name}", f"check {name}", old[name], check.get("verdict"))


def _figures(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    for name, words in FIGURES.items():
        old, new = _get(before, "figures", name), _get(after, "figures", name)
        if isinstance(old, int | float) and isinstance(new, int | float) and not _is_close(old, new):
            yield Change(f"figures.{name}", words, old, new)


def _obstacles(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    if _parent(before) != _parent(after):
        yield "they were measured against different parents"
    if (before.get("texts") or {}) != (after.get("texts") or {}):
        yield "they read different texts"
    n_before, n_after = _get(before, "figures", "n_positions"), _get(after, "figures", "n_positions")
    if n_before and n_after and n_before != n_after:
        yield f"one has {n_before:,} positions, the other {n_after:,}"
    ways = [_get(report, "parent", "reference") for report in (before, after)]
    if all(ways) and ways[0] != ways[1]:
        yield f"the parent was run in another way: {ways[0]}; then {ways[1]}"


def engine_of(report: dict[str, Any]) -> str:
    """Name, version and the beginning of the library's digest: what figures depend on."""
    engine = _get(report, "engines", "artifact")
    if not isinstance(engine, dict):
        return ""
    words = [str(engine[name]) for name in ("name", "package", "version") if engine.get(name)]
    if digest := engine.get("library_sha256"):
        words.append(str(digest)[:12])
    return " ".join(words)


def _parent(report: dict[str, Any]) -> str:
    repo_id, commit_hash = _get(report, "parent", "repo_id"), _get(report, "parent", "commit_hash")
    return f"{repo_id}@{str(commit_hash)[:12]}" if repo_id else ""


def _get(report: dict[str, Any], *names: str) -> Any:
    found: Any = report
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _unless_same(name: str, words: str, before: Any, after: Any) -> Iterator[Change]:
    if before != after and before not in (None, ""):
        yield Change(name, words, before, after)


def _is_close(one: float, two: float) -> bool:
    return abs(one - two) <= SAME_FIGURE * max(abs(one), abs(two))
