"""`models.txt`: which models are wanted, in pip's own syntax, and `policy.txt`: what may be wanted at all.

    --index-url https://models.example            # also --extra-index-url, --find-links, --no-index
    -r common.txt                                 # more of them, relative to this file
    -c policy.txt                                 # constraints
    --require-hashes                              # also --require-validated
    org/name@v1.0 --format safetensors            # or ==v1.0; --include and --exclude take patterns
    org/name-GGUF:Q4_K_M --hash sha256:9f86d0…    # more hashes for more files

A constraints file holds `--allow-licence apache-2.0`, `--allow-format gguf`, `--max-size 10G`, `--require-validated`,
`--require-hashes`, more `-c FILE`, and `org/name@v1.0`, which allows no other revision.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.choosing.selection import Patterns
from holdfast.configuration.options import OPTIONS
from holdfast.errors import UsageError
from holdfast.lists.policy import ANYTHING, Policy, Rule, names_revision
from holdfast.lists.requirement_lines import Line, bad_line, read_lines
from holdfast.reference import Reference, parse_reference
from holdfast.settings import Settings
from holdfast.text import parse_bytes, printable

ALL_FILES = Patterns()
MAX_FILES = 200  # read for one list, so that files that include each other twice do not multiply
FORMAT_NAMES = ("safetensors", "gguf", "pytorch", "onnx", "other")
_HASH = re.compile(r"^sha256:([0-9a-fA-F]{64})\Z")
_VERSION = re.compile(r"^([^@=]+)==(?=[^=])")
_WITH_VALUE = {
    "-r": "--requirement", "--requirement": "--requirement", "-c": "--constraint", "--constraint": "--constraint",
    "-i": "--index-url", "--index-url": "--index-url", "--extra-index-url": "--extra-index-url",
    "-f": "--find-links", "--find-links": "--find-links", "--hash": "--hash", "--format": "--format",
    "--include": "--include", "--exclude": "--exclude", "--allow-licence": "--allow-licence",
    "--allow-license": "--allow-licence", "--allow-format": "--allow-format", "--max-size": "--max-size",
}  # fmt: skip
_SWITCHES = ("--no-index", "--require-hashes", "--require-validated")
_OF_A_MODEL = ("--hash", "--format", "--include", "--exclude")
_OF_A_FILE = ("--requirement", "--index-url", "--extra-index-url", "--find-links", "--no-index")
_OF_CONSTRAINTS = ("--allow-licence", "--allow-format", "--max-size")


@dataclass(frozen=True)
class Requirement:
    """One wanted model. `place` is the line that wants it."""

    reference: Reference
    hashes: tuple[str, ...] = ()
    patterns: Patterns = ALL_FILES
    format: str | None = None
    place: str = ""

    @property
    def text(self) -> str:
        """The line without its hashes, spelled in one way: what a lock remembers it by."""
        options = [("--format", self.format)] if self.format else []
        options += [("--include", one) for one in self.patterns.include]
        options += [("--exclude", one) for one in self.patterns.exclude]
        return " ".join([_quoted(self.reference.text), *(f"{flag} {_quoted(one)}" for flag, one in options)])


@dataclass(frozen=True)
class Requirements:
    """Everything that one list says, with the files it includes."""

    models: tuple[Requirement, ...] = ()
    policy: Policy = ANYTHING
    index_url: Rule | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    require_hashes: bool = False

    def settings(self, settings: Settings, *, index_is_given: bool) -> Settings:
        """The settings with what the list says of indexes; an index from the command line wins."""
        own = None if index_is_given or self.index_url is None else self.index_url.value
        url, extra = own or settings.index_url, settings.indexes[1:] + self.extra_index_urls
        nobody = self.no_index or not settings.indexes  # --no-index on the command line holds for lists, too
        return replace(
            settings,
            index_url=url,
            indexes=() if nobody else tuple(dict.fromkeys((url, *extra))),
            find_links=tuple(dict.fromkeys(settings.find_links + self.find_links)),
            require_hashes=settings.require_hashes or self.require_hashes,
        )


def read_requirements(
    files: Sequence[Path], constraints: Sequence[Path], environ: Mapping[str, str]
) -> Requirements:
    """Reads all of them. Raises UsageError naming the file and the line that is wrong."""
    reader = _Reader(environ)
    for path in files:
        reader.read(path, is_constraint=False)
    for path in constraints:
        reader.read(path, is_constraint=True)
    return reader.found()


def parse_requirement(words: Sequence[str], place: str) -> Requirement:
    """One wanted model. Raises UsageError naming the place."""
    hashes: list[str] = []
    include: list[str] = []
    exclude: list[str] = []
    formats: list[str] = []
    for flag, value in _options(words[1:], place, _OF_A_MODEL):
        if flag == "--hash":
            hashes.append(_hash(value, place))
        else:
            {"--format": formats, "--include": include, "--exclude": exclude}[flag].append(value)
    if len(formats) > 1:
        raise bad_line(place, "two formats for one model", hint="write the model twice")
    patterns = Patterns(tuple(include), tuple(exclude))
    reference = _reference(words[0], formats[0] if formats else None, place)
    unique = tuple(sorted(set(hashes)))
    return Requirement(reference, unique, patterns, formats[0] if formats else None, place)


class _Reader:
    """What the files have said so far."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._open: list[Path] = []
        self._n_files = 0
        self._models: dict[str, Requirement] = {}
        self._said = Requirements()

    def found(self) -> Requirements:
        """Everything together."""
        return replace(self._said, models=tuple(self._models.values()))

    def read(self, path: Path, *, is_constraint: bool, place: str = "") -> None:
        """Takes a file in, and what it includes."""
        real = Path(os.path.realpath(path))
        self._n_files += 1
        if real in self._open:
            raise bad_line(place, f"{printable(path)} includes itself", hint="remove one of the lines")
        if self._n_files > MAX_FILES:
            raise bad_line(place, f"more than {MAX_FILES} files are included")
        self._open.append(real)
        for line in read_lines(path, self._environ):
            if not line.words[0].startswith("-"):
                self._take_model(line, is_constraint)
                continue
            for flag, value in _options(line.words, line.place, None):
                self._take_option(flag, value, line, is_constraint)
        self._open.pop()

    def _take_model(self, line: Line, is_constraint: bool) -> None:
        requirement = parse_requirement(line.words, line.place)
        if is_constraint:
            self._add(Policy(revisions=(_revision_rule(requirement),)))
            return
        before = self._models.setdefault(requirement.text, requirement)
        if before.hashes != requirement.hashes:
            raise bad_line(
                line.place, f"{printable(requirement.text)} has other hashes at {printable(before.place)}"
            )

    def _take_option(self, flag: str, value: str, line: Line, is_constraint: bool) -> None:
        if flag in _OF_A_MODEL or flag in (_OF_A_FILE if is_constraint else _OF_CONSTRAINTS):
            where = "after a model" if flag in _OF_A_MODEL else _elsewhere(is_constraint)
            raise bad_line(line.place, f"{flag} stands {where}")
        if flag in ("--requirement", "--constraint"):
            self.read(line.path.parent / value, is_constraint=flag == "--constraint", place=line.place)
        elif flag in _OF_CONSTRAINTS:
            self._add(_rule_of(flag, value, line.place))
        elif flag == "--require-validated":
            self._add(Policy(validated=(Rule("", line.place),)))
        else:
            self._said = replace(self._said, **self._index_option(flag, value, line))

    def _index_option(self, flag: str, value: str, line: Line) -> dict[str, Any]:
        said = self._said
        if flag in _SWITCHES:
            return {flag[2:].replace("-", "_"): True}
        read = OPTIONS[flag[2:]].value(value, named=f"{line.place}: {flag}", base=line.path.parent.absolute())
        if flag == "--extra-index-url":
            return {"extra_index_urls": tuple(dict.fromkeys(said.extra_index_urls + read))}
        if flag == "--find-links":
            return {"find_links": tuple(dict.fromkeys(said.find_links + read))}
        if said.index_url is not None and said.index_url.value != read:
            raise bad_line(line.place, f"{printable(said.index_url.place)} names another index")
        return {"index_url": Rule(read, line.place)}

    def _add(self, policy: Policy) -> None:
        self._said = replace(self._said, policy=self._said.policy + policy)


def _options(words: Sequence[str], place: str, known: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """Every option with its value: `--flag value`, `--flag=value`, and of one letter also `-fvalue`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in _SWITCHES and known is None:
            yield word, ""
            continue
        flag, has_value, value = word.partition("=")
        if not word.startswith("--") and len(word) > 2:
            flag, has_value, value = word[:2], "=", word[2:]
        name = _WITH_VALUE.get(flag)
        if name is None or (known is not None and name not in known):
            raise bad_line(place, f"{printable(word)} is not understood here")
        if not has_value and not rest:
            raise bad_line(place, f"{flag} has no value")
        yield name, value if has_value else rest.pop(0)


def _reference(word: str, format_name: str | None, place: str) -> Reference:
    try:
        reference = parse_reference(_VERSION.sub(r"\1@", word))
    except UsageError as error:
        raise bad_line(place, error.message, hint=error.hint) from error
    if format_name is None:
        return reference
    if format_name.casefold() not in FORMAT_NAMES or (
        reference.variant is not None and reference.variant.casefold() != format_name.casefold()
    ):
        what = f"--format {printable(format_name)}"
        raise bad_line(
            place, f"{what} is no format" if reference.variant is None else f"a variant and {what}"
        )
    return replace(reference, variant=format_name)


def _hash(value: str, place: str) -> str:
    match = _HASH.match(value)
    if match is None:
        raise bad_line(
            place, f"{printable(value)[:80]!r} is no hash", hint="write --hash sha256:<64 hex digits>"
        )
    return match.group(1).lower()


def _revision_rule(requirement: Requirement) -> tuple[str, Rule]:
    reference = requirement.reference
    extras = requirement.hashes or requirement.patterns or reference.variant or reference.path
    if extras or reference.index_url or not names_revision(reference):
        raise bad_line(requirement.place, "a constraint on a model is org/name@revision and nothing more")
    return reference.repo_id, Rule(reference.revision, requirement.place)


def _rule_of(flag: str, value: str, place: str) -> Policy:
    if flag == "--allow-licence":
        return Policy(licences=tuple(Rule(one, place) for one in _items(value, place)))
    if flag == "--allow-format":
        formats = _items(value, place)
        for name in formats:
            if name not in FORMAT_NAMES:
                raise bad_line(
                    place, f"{printable(name)} is no format", hint=f"there are {', '.join(FORMAT_NAMES)}"
                )
        return Policy(formats=tuple(Rule(one, place) for one in formats))
    try:
        return Policy(max_sizes=(Rule(str(parse_bytes(value)), place),))
    except ValueError as error:
        raise bad_line(place, f"{flag} {error.args[0]}", hint="write for example --max-size 10G") from error


def _items(value: str, place: str) -> list[str]:
    items = [item.strip().lower() for item in value.split(",")]
    if not all(items):
        raise bad_line(place, "an empty name")
    return items


def _elsewhere(is_constraint: bool) -> str:
    return "in a list of models, not among constraints" if is_constraint else "among constraints (-c FILE)"


def _quoted(word: str) -> str:
    return shlex.quote(word) if re.search(r"[\s\"'#\\]", word) or not word else word
