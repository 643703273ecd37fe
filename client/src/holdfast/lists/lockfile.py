"""`models.lock`: exactly which bytes the models of a `models.txt` are. What it holds, read strictly and written stably.

    version = 1

    [[model]]
    requirement = "org/name:Q8_0"             # the line of models.txt, without its hashes
    index = "https://models.example"          # a folder below the lock's own: "./models"
    repo_id = "org/name-GGUF"                 # where the variant was found
    revision = "main"                         # what the commit was asked for as; left out if nobody asked for it here
    commit = "9f0c…"                          # 40 hex digits, never a branch
    variant = "Q8_0"
    licence = "apache-2.0"                    # as the card says at that commit; licence_sha256: of the LICENSE file
    verdicts = [
      { path = "name-Q8_0.gguf", verdict = "verified", passed = true, report_sha256 = "…" },
    ]
    files = [
      { path = "name-Q8_0.gguf", size_bytes = 123, sha256 = "…" },
    ]

A file outside LFS has its `git_oid` too: that is what a hub lists, and what its blob in the cache is named by.

The text depends on nothing but the facts: models are sorted, files are sorted, every file is a line, every line ends in
a newline. A lock is hostile input like a listing: paths, sizes, digests and names are checked before anything is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable

from holdfast.cache.layout import write_atomically
from holdfast.configuration.toml import parse_toml
from holdfast.errors import BadLock, UnsafePath
from holdfast.fetching.disk import disk_errors
from holdfast.paths import check_collisions, check_path
from holdfast.reference import is_repo_id, is_revision
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile
from holdfast.text import printable

VERSION = 1
MAX_LOCK_BYTES = 16 << 20  # some eighty thousand files
MAX_FILE_BYTES = 1 << 50
HEAD = "# Written by holdfast lock. Commit it; change models.txt instead of this.\n"
_CONTROL = re.compile(r'[\x00-\x1f\x7f"\\\ud800-\udfff]')


@dataclass(frozen=True)
class LockedFile:
    """One file. `git_oid` is known of files outside LFS."""

    path: str
    size_bytes: int
    sha256: str
    git_oid: str | None = None

    def as_remote(self) -> RemoteFile:
        """The file as an index would list it, pinned to its sha256."""
        if self.git_oid is None:
            return RemoteFile(self.path, self.size_bytes, None, self.sha256)
        return RemoteFile(self.path, self.size_bytes, self.git_oid, None, (self.sha256,))


@dataclass(frozen=True)
class LockedVerdict:
    """What the index held of some weights when they were locked."""

    path: str
    verdict: str
    passed: bool
    report_sha256: str | None = None


@dataclass(frozen=True)
class LockedModel:
    """One requirement and what it means."""

    requirement: str
    index: str
    repo_id: str
    revision: str | None
    commit: str
    variant: str | None
    licence: str | None
    licence_sha256: str | None
    verdicts: tuple[LockedVerdict, ...]
    files: tuple[LockedFile, ...]

    @property
    def name(self) -> str:
        return f"{self.repo_id}@{self.commit[:12]}"

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def read_lock(path: Path) -> tuple[LockedModel, ...] | None:
    """The models of a lock, sorted; None if there is no such file. Raises BadLock naming what is wrong with it."""
    name = printable(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOCK_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _bad(name, printable(getattr(error, "strerror", None) or str(error))) from error
    if len(data) > MAX_LOCK_BYTES:
        raise _bad(name, f"it is larger than {MAX_LOCK_BYTES >> 20} MiB")
    try:
        models = _models(parse_toml(data.decode("utf-8")), name)
        return tuple(replace(model, index=_absolute(model.index, path.resolve().parent)) for model in models)
    except ValueError as error:
        raise _bad(name, printable(str(error))[:200]) from error


def write_lock(path: Path, models: Iterable[LockedModel]) -> bool:
    """Afterwards the file holds exactly these models; False if it already did. Readers see the old or the new text."""
    real = path.resolve()
    text = lock_text(replace(model, index=_relative(model.index, real.parent)) for model in models)
    with disk_errors(real.parent):
        if real.is_file() and real.read_bytes() == text.encode("utf-8"):
            return False
        write_atomically(real, text)
    return True


def _relative(index: str, folder: Path) -> str:
    """A folder that lies below the lock's own is named from there, so that both can move together."""
    root = folder.as_uri()
    return f".{index[len(root) :]}" if index == root or index.startswith(f"{root}/") else index


def _absolute(index: str, folder: Path) -> str:
    return folder.as_uri() + index[1:] if index == "." or index.startswith("./") else index


def lock_text(models: Iterable[LockedModel]) -> str:
    """The file's text: the same for the same facts, whatever their order."""
    blocks = [_block(model) for model in sorted(models, key=lambda model: (model.requirement, model.index))]
    return "\n".join([f"{HEAD}version = {VERSION}\n", *blocks])


def _block(model: LockedModel) -> str:
    names = ("requirement", "index", "repo_id", "revision", "commit", "variant", "licence", "licence_sha256")
    values = [(name, getattr(model, name)) for name in names]
    lines = ["[[model]]", *(f"{name} = {_string(value)}" for name, value in values if value is not None)]
    if model.verdicts:
        lines += ["verdicts = [", *(_row(one) for one in _by_path(model.verdicts)), "]"]
    lines += ["files = [", *(_row(one) for one in _by_path(model.files)), "]"]
    return "\n".join(lines) + "\n"


def _by_path(rows: Iterable[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: row.path)


def _row(row: LockedFile | LockedVerdict) -> str:
    facts = [(name, value) for name, value in vars(row).items() if value is not None]
    return f"  {{ {', '.join(f'{name} = {_value(value)}' for name, value in facts)} }},"


def _value(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _string(value)


def _string(text: str) -> str:
    """A basic string of TOML. What its grammar forbids is spelled out."""
    return f'"{_CONTROL.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    return f"\\{char}" if char in '"\\' else f"\\u{ord(char):04X}"


def _models(table: Mapping[str, Any], name: str) -> tuple[LockedModel, ...]:
    if table.get("version") != VERSION or isinstance(table.get("version"), bool):
        raise _bad(
            name,
            f"its version is {printable(repr(table.get('version')))[:40]}, and this holdfast reads {VERSION}",
        )
    rows = table.get("model", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _bad(name, "model is not a list of tables")
    models = sorted((_model(row, name) for row in rows), key=lambda model: model.requirement)
    for one, other in zip(models, models[1:]):
        if one.requirement == other.requirement:
            raise _bad(name, f"{printable(one.requirement)} is locked twice")
    return tuple(models)


def _model(row: Mapping[str, Any], name: str) -> LockedModel:
    label = f"{name}: {printable(str(row.get('requirement')))[:120]}"
    field = _Fields(row, label)
    commit = field.text("commit")
    if not COMMIT.match(commit):
        raise _bad(
            label,
            f"its commit is {printable(commit)[:60]!r}, and only a full commit is locked: a branch moves",
        )
    files = tuple(_file(one, label) for one in field.tables("files"))
    if not files:
        raise _bad(label, "no files are locked")
    listed = [file.path for file in files]
    if len(set(listed)) < len(listed):
        raise _bad(label, "a path is locked twice")
    check_collisions(listed, listed_by=label)
    return LockedModel(
        requirement=field.text("requirement"),
        index=field.text("index"),
        repo_id=field.text("repo_id", is_repo_id),
        revision=field.maybe("revision", is_revision),
        commit=commit,
        variant=field.maybe("variant"),
        licence=field.maybe("licence"),
        licence_sha256=field.maybe("licence_sha256", _is_sha256),
        verdicts=tuple(_verdict(one, label) for one in field.tables("verdicts")),
        files=tuple(sorted(files, key=lambda file: file.path)),
    )


def _file(row: Mapping[str, Any], label: str) -> LockedFile:
    field = _Fields(row, label)
    path = field.text("path")
    try:
        check_path(path, listed_by=label)
    except UnsafePath as error:
        error.hint = "Nothing was written. The lock was changed by somebody: look at its history."
        raise
    size = row.get("size_bytes")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_FILE_BYTES:
        raise _bad(label, f"{printable(path)} has size {printable(repr(size))[:40]}")
    return LockedFile(
        path,
        size,
        field.text("sha256", _is_sha256),
        field.maybe("git_oid", lambda oid: bool(COMMIT.match(oid))),
    )


def _verdict(row: Mapping[str, Any], label: str) -> LockedVerdict:
    field = _Fields(row, label)
    return LockedVerdict(
        field.text("path"),
        field.text("verdict"),
        row.get("passed") is True,
        field.maybe("report_sha256", _is_sha256),
    )


def _is_sha256(text: str) -> bool:
    return bool(SHA256.match(text))


class _Fields:
    """The fields of one table, checked."""

    def __init__(self, row: Mapping[str, Any], label: str) -> None:
        self._row = row
        self._label = label

    def text(self, name: str, is_good: Callable[[str], bool] = bool) -> str:
        """A text that is there and good."""
        value = self._row.get(name)
        if not isinstance(value, str) or not is_good(value):
            raise _bad(self._label, f"{name} is {printable(repr(value))[:80]}")
        return value

    def maybe(self, name: str, is_good: Callable[[str], bool] = bool) -> str | None:
        """A text that may be left out."""
        return self.text(name, is_good) if name in self._row else None

    def tables(self, name: str) -> list[Mapping[str, Any]]:
        """A list of tables that may be left out."""
        rows = self._row.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _bad(self._label, f"{name} is not a list of tables")
        return rows


def _bad(name: str, reason: str) -> BadLock:
    return BadLock(
        f"{name}: {reason}", hint="Take the version that was committed, or remove it and run holdfast lock."
    )
