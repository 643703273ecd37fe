"""Which source wins: a flag, the environment, the project's file, the person's, the machine's, the default.

Every value knows where it comes from. What a file cannot say is left out with a warning; what cannot be
read is an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.configuration.files import (
    PROJECT,
    ConfigFile,
    files_that_count,
    forbidden,
    is_planted,
    unknown_key,
)
from holdfast.configuration.options import OPTIONS, Option
from holdfast.configuration.readers import is_on, read_switch
from holdfast.text import printable

FLAG, ENVIRONMENT, DEFAULT = "flag", "environment", "default"


@dataclass(frozen=True)
class Found:
    """A value; the kind of place that it is from, and the flag, variable or file itself."""

    value: Any
    scope: str
    source: str


class Configuration:
    """The value of every option."""

    def __init__(self, layers: Mapping[str, Mapping[str, Found]], warnings: tuple[str, ...] = ()) -> None:
        self._layers = layers
        self.warnings = warnings

    @property
    def own(self) -> Configuration:
        """What the person and the machine say, without what a project's file says."""
        return Configuration({scope: layer for scope, layer in self._layers.items() if scope != PROJECT})

    def __getitem__(self, key: str) -> Any:
        return self.found(key).value

    def found(self, key: str) -> Found:
        """The value that wins, and from where."""
        layers = (layer[key] for layer in self._layers.values() if key in layer)
        return next(layers, Found(OPTIONS[key].default, DEFAULT, DEFAULT))


def read_configuration(
    args: argparse.Namespace, environ: Mapping[str, str], *, with_files: bool = True
) -> Configuration:
    """Reads all sources. Raises UsageError naming the one that is wrong."""
    folder = working_folder()
    layers = {
        FLAG: dict(_from_flags(args, folder or Path())),
        ENVIRONMENT: dict(_from_environment(environ, folder or Path())),
    }
    warnings: list[str] = []
    for file in files_that_count(environ, folder) if with_files else ():
        layers[file.scope] = dict(_from_file(file, warnings))
    return Configuration(layers, tuple(warnings))


def working_folder() -> Path | None:
    """The folder we are in; None if it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _from_flags(args: argparse.Namespace, base: Path) -> Iterator[tuple[str, Found]]:
    for option in OPTIONS.values():
        raw = getattr(args, option.attribute, None)
        if raw is not None and raw is not False and raw not in ("", []):
            named = f"--{option.key}"
            yield option.key, Found(option.value(raw, named=named, base=base), FLAG, named)


def _from_environment(environ: Mapping[str, str], base: Path) -> Iterator[tuple[str, Found]]:
    for option in OPTIONS.values():
        name = next((name for name in option.variables if environ.get(name, "").strip()), None)
        if name is not None:
            raw = environ[name]
            if option.read is read_switch and name in option.others:
                raw = str(is_on(raw))  # as Hugging Face reads its own: whatever is not yes is no
            value = option.value(raw, named=name, base=base)
            yield option.key, Found(value, ENVIRONMENT, name)


def _from_file(file: ConfigFile, warnings: list[str]) -> Iterator[tuple[str, Found]]:
    text = file.read_text()
    if not text:
        return
    if file.scope == PROJECT and is_planted(file.path):
        warnings.append(
            f"{printable(file.path)} is another user's, in a folder that all can write to: ignored"
        )
        return
    for key in file.misplaced(text):
        warnings.append(f"{printable(file.path)}: {printable(key)} is ignored: it belongs in [{file.table}]")
    for key, raw in file.values(text).items():
        option = OPTIONS.get(key)
        if option is None:
            warnings.append(unknown_key(key, raw, file))
            continue
        value = value_in_file(option, raw, file)
        reason = forbidden(option, value, file)
        if reason is None:
            yield key, Found(value, file.scope, str(file.path))
        else:
            warnings.append(f"{printable(file.path)}: {key} is ignored: {reason}")


def value_in_file(option: Option, raw: object, file: ConfigFile) -> Any:
    """The value, with relative paths starting at the file's folder."""
    return option.value(raw, named=f"{option.key} in {printable(file.path)}", base=file.path.parent)
