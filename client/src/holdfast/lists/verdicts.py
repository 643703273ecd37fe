"""What an index says of weights that it has run: the verdict on some bytes, and the report behind it.

A verdict is on one file. Of a model in shards it is on the first, and holds for all of them. It passes if an operator
says `verified`, or, where no operator decided, if the index's own gate let the newest run through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from holdfast.choosing.selection import Selection
from holdfast.choosing.variants import format_of, gguf_groups
from holdfast.errors import NotValidated
from holdfast.sources.hub import Hub
from holdfast.sources.indexes import Indexes
from holdfast.sources.remote import SHA256, RemoteFile
from holdfast.text import count, printable

PASSING = "verified"


@dataclass(frozen=True)
class Verdict:
    """What is held of some bytes. `report_sha256` names the report at the index."""

    verdict: str
    passed: bool
    report_sha256: str | None


def read_verdicts(indexes: Indexes, repo_id: str, commit: str) -> dict[str, Verdict]:
    """Every verdict the index has for files of the commit, by sha256. Empty for an index that judges nothing."""
    source = indexes.source_of(repo_id, commit)
    if not isinstance(source, Hub):
        return {}
    rows = source.ask(f"validations/{repo_id}?{urlencode({'revision': commit})}")
    found = [parse_verdict(row) for row in rows] if isinstance(rows, list) else []
    return {sha256: verdict for sha256, verdict in found if sha256}


def parse_verdict(row: Any) -> tuple[str, Verdict]:
    """Whose verdict it is, by sha256 (empty for what is no verdict), and the verdict. Believes no shape."""
    row = row if isinstance(row, dict) else {}
    newest = row.get("newest") if isinstance(row.get("newest"), dict) else {}
    override = row.get("override") if isinstance(row.get("override"), dict) else None
    sha256, report = str(row.get("sha256")), str(newest.get("report_sha256"))
    word = printable(str(row.get("verdict") or "untested"))[:40]
    passed = word == PASSING if override else newest.get("passed") is True
    return (
        sha256 if SHA256.match(sha256) else "",
        Verdict(word, passed, report if SHA256.match(report) else None),
    )


def models_in(files: Sequence[RemoteFile]) -> list[list[RemoteFile]]:
    """The weights among the files, those of one model together, its first file first."""
    groups = [group.files for group in gguf_groups(files)]
    grouped = {file.path for group in groups for file in group}
    formats: dict[str, list[RemoteFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        name = format_of(file.path)
        if name == "gguf" and file.path not in grouped:
            groups.append([file])
        elif name is not None and name != "gguf":
            formats.setdefault(name, []).append(file)
    return groups + list(formats.values())


def check_validated(selection: Selection, verdicts: Mapping[str, Verdict], place: str) -> None:
    """Raises NotValidated unless every model among the files has a verdict that passes."""
    missing = [
        (group[0].path, verdicts.get(group[0].sha256 or ""))
        for group in models_in(selection.files)
        if not _passes(verdicts.get(group[0].sha256 or ""))
    ]
    if missing:
        path, verdict = missing[0]
        word = f"the verdict is {verdict.verdict}" if verdict else "nobody has judged it"
        more = f" (and {count(len(missing) - 1, 'more file')})" if len(missing) > 1 else ""
        raise NotValidated(
            f"{selection.name} {printable(path)}{more}: {word}, and {place} wants one that passes",
            hint="Ask the index to run it (holdfast validate), or choose a variant with a verdict.",
            repo_id=selection.repo_id,
            commit=selection.commit,
            paths=[path for path, _verdict in missing],
            verdict=verdict.verdict if verdict else None,
        )


def _passes(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.passed
