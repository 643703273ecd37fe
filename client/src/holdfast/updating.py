"""How this program came here, and the one command that brings a newer one.

Read from what installers leave: `direct_url.json` and `INSTALLER` beside our metadata (PEP 610, PEP 627), the receipts
of uv and pipx, and the mark of a Python that its system manages (PEP 668).
"""

from __future__ import annotations

import json
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from holdfast.errors import UsageError
from holdfast.text import printable

NAME = "holdfast"


@dataclass(frozen=True)
class Installation:
    """`how` in words, and the command that renews it."""

    how: str
    command: tuple[str, ...]


def read_installation() -> Installation:
    """How we were installed. Raises UsageError with what to do where no installer can renew us."""
    ours = _distribution()
    if ours is None:
        raise UsageError(
            f"holdfast runs from its source ({printable(Path(__file__).parent)}), not from an installation",
            hint="Update the source there, with git for example.",
        )
    origin = _origin(ours)
    if origin.get("dir_info", {}).get("editable"):
        raise UsageError(
            f"holdfast is an editable installation of {printable(origin.get('url'))}",
            hint="Update the source there, with git for example.",
        )
    return _installation(Path(sys.prefix), (ours.read_text("INSTALLER") or "").strip(), _target(origin))


def _distribution() -> Distribution | None:
    """Our metadata, if an installer has left it: what a build leaves beside the source names none."""
    try:
        ours = distribution(NAME)
    except PackageNotFoundError:
        return None
    return ours if ours.read_text("INSTALLER") else None


def _installation(prefix: Path, installer: str, target: str) -> Installation:
    if (prefix / "uv-receipt.toml").is_file():
        return Installation("as a tool of uv", ("uv", "tool", "upgrade", NAME))
    if (prefix / "pipx_metadata.json").is_file():
        return Installation("by pipx", ("pipx", "upgrade", NAME))
    if (
        sys.prefix == sys.base_prefix
        and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file()
    ):
        raise UsageError(
            "this Python is managed by its system, and pip may not change it",
            hint="Use the system's packages, or install holdfast by uv tool install or pipx.",
        )
    if installer == "uv":
        return Installation(
            "by uv pip", ("uv", "pip", "install", "--python", sys.executable, "--upgrade", target)
        )
    return Installation("by pip", (sys.executable, "-m", "pip", "install", "--upgrade", target))


def _origin(ours: Distribution) -> dict[str, Any]:
    """Where we were installed from, if that was no package index."""
    try:
        found = json.loads(ours.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _target(origin: dict[str, Any]) -> str:
    """What to install: from the same place as before, so that no package of this name elsewhere takes our place."""
    url = str(origin.get("url") or "")
    vcs = origin.get("vcs_info")
    if isinstance(vcs, dict) and url:
        return f"{vcs.get('vcs')}+{url}"
    if url.startswith("file:"):
        return unquote(urlsplit(url).path)
    return url or NAME
