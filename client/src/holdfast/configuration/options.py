"""Everything that can be configured: one row each, with its flag, its variables and how its value is read.

A row `index-url` is the flag `--index-url`, the variable `HOLDFAST_INDEX_URL` (and the others that are named), and the
key `index-url` of a configuration file. What reads a value takes text or what TOML or argparse made of it, and raises
ValueError with what it should have been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from holdfast.configuration.readers import (
    read_cert_pair,
    read_choice,
    read_count,
    read_hosts,
    read_path,
    read_places,
    read_proxy,
    read_seconds,
    read_size,
    read_switch,
    read_url,
    read_urls,
    read_workers,
)
from holdfast.errors import UsageError
from holdfast.text import printable

ANYWHERE, ONLY_ON, NOT_IN_PROJECTS, INSIDE = "anywhere", "only on", "not in projects", "inside"


@dataclass(frozen=True)
class Option:
    """One row. `in_projects` is what a project's file, which may be a stranger's, can do with it:

    ANYWHERE set it, ONLY_ON switch it on but not off, INSIDE name places within its own folder only.
    """

    key: str
    read: Callable[[object, Path], Any]
    default: Any
    others: tuple[str, ...]  # further variables
    in_projects: str
    help: str

    @property
    def attribute(self) -> str:
        """The name among the parsed arguments."""
        return self.key.replace("-", "_")

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that set it; the first that is not empty does."""
        return (f"HOLDFAST_{self.attribute.upper()}", *self.others)

    def value(self, raw: object, *, named: str, base: Path) -> Any:
        """The value, or UsageError saying what `named` should have been. Relative paths start at `base`."""
        try:
            return self.read(raw, base)
        except ValueError as error:
            what, hint = (*error.args, "")[:2]
            is_shown = "@" not in str(raw)  # what holds an @ may hold a password
            shown = f": {printable(repr(raw))}" if is_shown else ""
            raise UsageError(f"{named} {what}{shown}", hint=str(hint)) from error


# fmt: off
_ROWS = (
    Option("index-url", read_url, "http://127.0.0.1:8000", ("HF_ENDPOINT",), ANYWHERE, "the index"),
    Option("extra-index-url", read_urls, (), (), ANYWHERE, "indexes that are asked after it, in this order"),
    Option("no-index", read_switch, False, (), ONLY_ON, "ask no index, only find-links"),
    Option("find-links", read_places, (), (), INSIDE, "folders or web pages that hold models"),
    Option("cache-dir", read_path, None, ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"), INSIDE, "the cache"),
    Option("max-cache-size", read_size, None, (), NOT_IN_PROJECTS, "what the cache may hold"),
    Option("offline", read_switch, False, ("HF_HUB_OFFLINE",), ONLY_ON, "use the cache only"),
    Option("require-hashes", read_switch, False, (), ONLY_ON, "pull only what has a hash"),
    Option("require-validated", read_switch, False, (), ONLY_ON, "pull only what has passed"),
    Option("memory", read_size, None, (), ANYWHERE, "bytes that :best may count on, instead of what is free"),
    Option("max-workers", read_workers, 8, (), ANYWHERE, "connections at once"),
    Option("limit-rate", read_size, None, (), ANYWHERE, "bytes per second, of all connections together"),
    Option("timeout", read_seconds, 30.0, (), ANYWHERE, "seconds for a connection or a silence"),
    Option("retries", read_count, 5, (), ANYWHERE, "of one request without any progress"),
    Option("ask-above", read_size, 20_000_000_000, (), NOT_IN_PROJECTS, "bytes above which a person is asked"),
    Option("proxy", read_proxy, None, (), NOT_IN_PROJECTS, "the proxy for every request"),
    Option("cert", read_path, None, (), NOT_IN_PROJECTS, "certificate authorities"),
    Option("client-cert", read_cert_pair, None, (), NOT_IN_PROJECTS, "our own certificate"),
    Option("trusted-host", read_hosts, (), (), NOT_IN_PROJECTS, "hosts whose certificate is not checked"),
    Option("progress-bar", read_choice("on", "off", "json"), "on", (), ANYWHERE, "on, off or json"),
    Option("log", read_path, None, (), NOT_IN_PROJECTS, "the file that everything is noted in"),
)
# fmt: on
OPTIONS: Mapping[str, Option] = {option.key: option for option in _ROWS}
