"""What the command line and the environment say, read once and then passed along.

| fact      | flag        | environment, the first one set wins                        | otherwise                |
|-----------|-------------|------------------------------------------------------------|--------------------------|
| index     | -i          | HOLDFAST_INDEX_URL, HF_ENDPOINT                            | http://127.0.0.1:8000    |
| token     |             | HOLDFAST_TOKEN, HF_TOKEN, HF_TOKEN_PATH (file)             | the file HF_HOME/token   |
| cache     | --cache-dir | HOLDFAST_CACHE_DIR, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE    | HF_HOME/hub              |
| HF_HOME   |             | HF_HOME, XDG_CACHE_HOME/huggingface                        | ~/.cache/huggingface     |
| offline   | --offline   | HOLDFAST_OFFLINE, HF_HUB_OFFLINE                           | no                       |
| colour    | --no-color  | NO_COLOR                                                   | if stderr is a terminal  |
| symlinks  |             | HF_HUB_DISABLE_SYMLINKS                                    | if the disk can          |
| ask above |             | HOLDFAST_ASK_ABOVE (bytes)                                 | 20 GB                    |
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.errors import UsageError
from holdfast.text import printable

DEFAULT_INDEX_URL = "http://127.0.0.1:8000"
HUGGING_FACE_URL = "https://huggingface.co"
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_RETRIES = 5
DEFAULT_WORKERS = 8
ASK_ABOVE_BYTES = 20_000_000_000
_TRUE = frozenset({"1", "on", "yes", "true"})


@dataclass(frozen=True)
class Settings:
    """Everything a command needs to know about its surroundings."""

    index_url: str
    hugging_face_url: str
    token: str | None
    hugging_face_token: str | None  # for hf:// references: never the one that is for another index
    cache_dir: Path
    offline: bool
    symlinks: bool
    timeout_seconds: float
    retries: int
    max_workers: int
    ask_above_bytes: int
    verbosity: int  # -1 quiet, 0, 1 -v (requests), 2 -vv (tracebacks)
    json: bool
    no_input: bool
    color: bool
    progress: str  # on, off, json


def read_settings(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Returns the settings, or raises UsageError naming the flag or variable that is wrong."""
    return Settings(
        index_url=_index_url(args.index_url, environ),
        hugging_face_url=_url("HF_ENDPOINT", environ.get("HF_ENDPOINT") or HUGGING_FACE_URL),
        token=_token(environ, ("HOLDFAST_TOKEN", "HF_TOKEN")),
        hugging_face_token=_token(environ, ("HF_TOKEN",)),
        cache_dir=_cache_dir(args.cache_dir, environ),
        offline=args.offline or _is_set(environ, "HOLDFAST_OFFLINE") or _is_set(environ, "HF_HUB_OFFLINE"),
        symlinks=not _is_set(environ, "HF_HUB_DISABLE_SYMLINKS"),
        timeout_seconds=args.timeout,
        retries=args.retries,
        max_workers=getattr(args, "max_workers", DEFAULT_WORKERS),
        ask_above_bytes=_bytes("HOLDFAST_ASK_ABOVE", environ, ASK_ABOVE_BYTES),
        verbosity=-1 if args.quiet else args.verbose,
        json=args.json,
        no_input=args.no_input,
        color=not (args.no_color or environ.get("NO_COLOR")),
        progress="off" if args.quiet and args.progress_bar == "on" else args.progress_bar,
    )


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() in _TRUE


def _index_url(flag: str | None, environ: Mapping[str, str]) -> str:
    if flag:
        return _url("--index-url", flag)
    for name in ("HOLDFAST_INDEX_URL", "HF_ENDPOINT"):
        if environ.get(name):
            return _url(name, environ[name])
    return DEFAULT_INDEX_URL


def _url(name: str, value: str) -> str:
    try:
        parts = urlsplit(value.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise UsageError(
            f"{name} is not an http(s) URL: {printable(value)!r}",
            hint="write for example http://127.0.0.1:8000",
        )
    if parts.username or parts.password:
        raise UsageError(f"{name} holds credentials", hint="leave them out and set HOLDFAST_TOKEN")
    return value.strip().rstrip("/")


def _hf_home(environ: Mapping[str, str]) -> Path:
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser()
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface"


def _cache_dir(flag: str | None, environ: Mapping[str, str]) -> Path:
    names = ("HOLDFAST_CACHE_DIR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    named = flag or next((environ[name] for name in names if environ.get(name)), None)
    return Path(named).expanduser().absolute() if named else _hf_home(environ).absolute() / "hub"


def _token(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    for name in names:
        if environ.get(name, "").strip():
            return _clean_token(name, environ[name])
    path = Path(environ.get("HF_TOKEN_PATH") or _hf_home(environ) / "token").expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return _clean_token(str(path), text) if text else None


def _clean_token(name: str, value: str) -> str:
    token = value.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(f"the token in {name} holds spaces or control characters", hint="set it again")
    return token


def _bytes(name: str, environ: Mapping[str, str], default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise UsageError(
            f"{name} is not a number of bytes: {printable(text)!r}", hint=f"for example {name}={default}"
        )
    return int(text)
