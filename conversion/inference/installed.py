"""What is installed, told by the folders that installers leave behind.

Every child asks for the version of its engine, and importing importlib.metadata is a third of what starting one takes
(30 of 100 ms: it brings email, zipfile and sockets).
"""

import re
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

TRANSFORMERS_NEEDS = ("torch", "transformers", "accelerate")
"""The last reads the GGUF of the engine's self-test."""


def version_of(package: str, paths: Sequence[str] = ()) -> str:
    """What importlib.metadata.version says of it. Raises ImportError as that does where it is not installed.

    A wheel is described in `{name}-{version}.dist-info`, no hyphen in either (PyPA, Recording installed projects).
    Where several folders claim the same package, or none, importlib.metadata decides.
    """
    wanted = _normal(package)
    found = {
        parts[1]
        for path in paths or sys.path
        for folder in Path(path or ".").glob("*.dist-info")
        if len(parts := folder.name.removesuffix(".dist-info").split("-")) == 2
        and _normal(parts[0]) == wanted
    }
    if len(found) == 1:
        return found.pop()
    from importlib.metadata import version

    return version(package)


def folder_of(package: str) -> Path | None:
    """Where a package lies that can be imported; nothing of it is run."""
    spec = PathFinder.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def has_transformers() -> bool:
    """Whether checkpoints run in transformers here; none of its packages is imported."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in TRANSFORMERS_NEEDS)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
