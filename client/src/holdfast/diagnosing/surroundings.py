"""This program, the machine, the variables that others read, and the programs that are here."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from holdfast import __version__
from holdfast.diagnosing import OK, WARN, Finding
from holdfast.diagnosing.disk import is_same_folder
from holdfast.network.urls import show_url
from holdfast.settings import Settings
from holdfast.text import printable

TOOLS = ("hf", "llama-cli", "llama-server", "vllm", "ollama", "aria2c", "git", "git-lfs")


def check(settings: Settings) -> Iterator[Finding]:
    """Reads only what every process may read."""
    yield Finding(
        "holdfast", OK, f"{__version__}, Python {platform.python_version()} ({printable(sys.executable)})"
    )
    yield Finding("system", OK, printable(f"{platform.system()} {platform.release()} {platform.machine()}"))
    yield from (Finding("settings", WARN, printable(warning)) for warning in settings.warnings)
    yield from check_variables(settings, os.environ)
    yield _tools()


def check_variables(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Where a variable sends other programs elsewhere than holdfast goes."""
    found = list(_disagreements(settings, environ))
    yield from found
    if not found:
        yield Finding("variables", OK, "other programs look where holdfast writes")


def _disagreements(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    theirs = _their_cache(environ)
    if not is_same_folder(theirs, settings.cache_dir):
        words = (
            f"transformers and hf look in {printable(theirs)}, holdfast in {printable(settings.cache_dir)}"
        )
        yield Finding(
            "variables", WARN, words, "Set HF_HUB_CACHE to the same folder, or leave it to HF_HOME."
        )
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/")
    if endpoint and endpoint != settings.index_url:
        words = f"HF_ENDPOINT is {show_url(endpoint)}, holdfast asks {show_url(settings.index_url)}"
        yield Finding("variables", WARN, words, "Both may be meant; hf:// references go to HF_ENDPOINT.")
    ours, hf = environ.get("HOLDFAST_TOKEN", "").strip(), environ.get("HF_TOKEN", "").strip()
    if ours and hf and ours != hf:
        yield Finding(
            "variables",
            OK,
            "HOLDFAST_TOKEN and HF_TOKEN differ: the first is for the index, the other for hf://",
        )
    if not settings.offline and environ.get("TRANSFORMERS_OFFLINE", "") in ("1", "true", "True"):
        yield Finding(
            "variables",
            WARN,
            "TRANSFORMERS_OFFLINE is set, holdfast is online",
            "Set HF_HUB_OFFLINE for all.",
        )
    if environ.get("TRANSFORMERS_CACHE"):
        yield Finding(
            "variables", WARN, "TRANSFORMERS_CACHE is read by old programs only", "Set HF_HOME instead."
        )


def _their_cache(environ: Mapping[str, str]) -> Path:
    """Where huggingface_hub keeps repos (its `constants.py`)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            return Path(environ[name]).expanduser().absolute()
    base = Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
    return Path(environ.get("HF_HOME") or base).expanduser().absolute() / "hub"


def _tools() -> Finding:
    found = {name: shutil.which(name) for name in TOOLS}
    here = ", ".join(name for name, path in found.items() if path) or "none"
    absent = ", ".join(name for name, path in found.items() if not path)
    return Finding("programs", OK, f"here: {here}" + (f"; not here: {absent}" if absent else ""))
