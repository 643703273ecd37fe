"""Which source wins: a flag, then the environment, then the default. Every value knows where it comes from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.options import OPTIONS, Option

DEFAULT = "default"


@dataclass(frozen=True)
class Found:
    """A value, and the words for where it is set."""

    value: Any
    source: str


class Configuration:
    """The value of every option. `own` are the values as they were without a project's file."""

    def __init__(self, layers: tuple[Mapping[str, Found], ...], warnings: tuple[str, ...] = ()) -> None:
        self._layers = layers
        self.warnings = warnings

    @property
    def own(self) -> Configuration:
        """What the person says, by whatever means, without what a project's file says."""
        return self

    def __getitem__(self, key: str) -> Any:
        return self.found(key).value

    def found(self, key: str) -> Found:
        """The value that wins, and from where."""
        layers = (layer[key] for layer in self._layers if key in layer)
        return next(layers, Found(OPTIONS[key].default, DEFAULT))


def read_configuration(args: argparse.Namespace, environ: Mapping[str, str]) -> Configuration:
    """Reads all sources. Raises UsageError naming the one that is wrong."""
    return Configuration((dict(_from_flags(args)), dict(_from_environment(environ))))


def _from_flags(args: argparse.Namespace) -> Iterator[tuple[str, Found]]:
    for option in OPTIONS.values():
        raw = getattr(args, option.attribute, None)
        if raw not in (None, False, [], ""):
            yield option.key, _found(option, raw, f"--{option.key}")


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Found]]:
    for option in OPTIONS.values():
        name = next((name for name in option.variables if environ.get(name, "").strip()), None)
        if name is not None:
            yield option.key, _found(option, environ[name], name)


def _found(option: Option, raw: object, named: str) -> Found:
    return Found(option.value(raw, named=named, base=Path.cwd()), named)
