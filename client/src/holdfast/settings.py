"""What the command line, the environment and the configuration files say, read once and then passed along.

`options.py` has a row for everything that can be configured; `configuration.py` says which source wins. Tokens are
bound to the origin that they are for, whichever index is configured:

| token of             | the first one set wins                                                              |
|----------------------|-------------------------------------------------------------------------------------|
| the configured index | HOLDFAST_TOKEN, `holdfast login`, HF_TOKEN, the file HF_TOKEN_PATH or HF_HOME/token |
| huggingface.co       | HF_TOKEN, `holdfast login`, the file HF_TOKEN_PATH or HF_HOME/token                 |
| any other index      | `holdfast login`                                                                    |

An index that only a project's file names is "any other": a checkout cannot have a token sent to where it likes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.configuration.credentials import clean_token, others_may_read, read_logins, tokens_file
from holdfast.configuration.options import OPTIONS
from holdfast.configuration.precedence import read_configuration
from holdfast.configuration.readers import is_on
from holdfast.errors import UsageError
from holdfast.network.urls import Origin, origin
from holdfast.text import printable

HUGGING_FACE_URL = "https://huggingface.co"


@dataclass(frozen=True)
class Settings:
    """Everything a command needs to know about its surroundings."""

    index_url: str
    index_is_own: bool  # false if nothing but a project's file names it
    indexes: tuple[str, ...]  # index_url, then the extra ones, as they are asked; empty with --no-index
    find_links: tuple[str, ...]  # absolute folders and http(s) addresses
    hugging_face_url: str
    tokens: Mapping[Origin, str] = field(repr=False)
    cache_dir: Path
    max_cache_bytes: int | None
    offline: bool
    symlinks: bool
    require_hashes: bool
    require_validated: bool
    timeout_seconds: float
    retries: int
    max_workers: int
    memory_bytes: int | None  # what :best may count on; None: what this machine has
    limit_rate: int | None  # bytes per second, of all connections together
    proxy: str | None = field(repr=False)  # may hold a password
    cert: Path | None  # certificate authorities, a file or a folder
    client_cert: tuple[Path, Path | None] | None  # certificate, and its key if that is another file
    trusted_hosts: tuple[str, ...]  # `host` or `host:port`, in lower case
    ask_above_bytes: int
    verbosity: int  # -1 quiet, 0, 1 -v (requests), 2 -vv (tracebacks)
    json: bool
    no_input: bool
    color: bool
    progress: str  # on, off, json
    log: Path | None
    warnings: tuple[str, ...] = ()  # what was left out of the configuration, and why

    def token_for(self, url: str) -> str | None:
        """The token that may be sent to the URL's scheme, host and port; None if there is none."""
        return self.tokens.get(origin(url))

    @property
    def token(self) -> str | None:
        """The token of the configured index."""
        return self.token_for(self.index_url)

    @property
    def hugging_face_token(self) -> str | None:
        """The token for hf:// references: never the one that is for another index."""
        return self.token_for(self.hugging_face_url)


def read_settings(
    args: argparse.Namespace, environ: Mapping[str, str], *, with_files: bool = True
) -> Settings:
    """Returns the settings, or raises UsageError naming the flag, the variable or the file that is wrong."""
    with_files = with_files and not args.isolated
    found = read_configuration(args, environ, with_files=with_files)
    warnings = list(found.warnings)
    logins = _logins(environ, warnings) if with_files else {}
    index_url, extra = found["index-url"], found["extra-index-url"]
    hugging_face_url = _hugging_face_url(environ)
    own = found.own["index-url"]
    tokens = _tokens(origin(own), origin(hugging_face_url), logins, environ, with_files=with_files)
    if environ.get("HOLDFAST_TOKEN", "").strip() and origin(index_url) not in tokens:
        warnings.append(
            f"HOLDFAST_TOKEN is not for {printable(index_url)}, which only a project names (-i does)"
        )
    progress = found["progress-bar"]
    return Settings(
        index_url=index_url,
        index_is_own=own == index_url,
        indexes=() if found["no-index"] else tuple(dict.fromkeys((index_url, *extra))),
        find_links=found["find-links"],
        hugging_face_url=hugging_face_url,
        tokens=tokens,
        cache_dir=found["cache-dir"] or _hf_home(environ).absolute() / "hub",
        max_cache_bytes=found["max-cache-size"],
        offline=found["offline"],
        symlinks=not is_on(environ.get("HF_HUB_DISABLE_SYMLINKS", "")),
        require_hashes=found["require-hashes"],
        require_validated=found["require-validated"],
        timeout_seconds=found["timeout"],
        retries=found["retries"],
        max_workers=found["max-workers"],
        memory_bytes=found["memory"],
        limit_rate=found["limit-rate"],
        proxy=found["proxy"],
        cert=found["cert"],
        client_cert=found["client-cert"],
        trusted_hosts=found["trusted-host"],
        ask_above_bytes=found["ask-above"],
        verbosity=-1 if args.quiet else args.verbose,
        json=args.json,
        no_input=args.no_input,
        color=not (args.no_color or environ.get("NO_COLOR")),
        progress="off" if args.quiet and progress == "on" else progress,
        log=found["log"],
        warnings=tuple(warnings),
    )


def _hugging_face_url(environ: Mapping[str, str]) -> str:
    named = environ.get("HF_ENDPOINT") or HUGGING_FACE_URL
    return str(OPTIONS["index-url"].value(named, named="HF_ENDPOINT", base=Path()))


def _hf_home(environ: Mapping[str, str]) -> Path:
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser()
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface"


def _tokens(
    own: Origin,
    hugging_face: Origin,
    logins: Mapping[Origin, str],
    environ: Mapping[str, str],
    *,
    with_files: bool,
) -> dict[Origin, str]:
    """Every token with the one place that it is for; what is written later wins."""
    tokens: dict[Origin, str] = {}
    in_file = _token_in_file(environ) if with_files else None
    if in_file is not None:
        tokens |= {hugging_face: in_file, own: in_file}
    theirs = _token_in("HF_TOKEN", environ)
    if theirs is not None:
        tokens |= {hugging_face: theirs, own: theirs}
    tokens |= {place: token for place, token in logins.items() if theirs is None or place != hugging_face}
    ours = _token_in("HOLDFAST_TOKEN", environ)
    if ours is not None:
        tokens[own] = ours
    return tokens


def _logins(environ: Mapping[str, str], warnings: list[str]) -> dict[Origin, str]:
    """What `holdfast login` keeps. A file that cannot be read is a warning: most commands need no token."""
    path = tokens_file(environ)
    try:
        found = {place: login.token for place, login in read_logins(path).items()}
    except UsageError as error:
        warnings.append(f"{error.message}; {error.hint}")
        return {}
    if found and others_may_read(path):
        warnings.append(f"others on this machine can read the tokens: chmod 600 {printable(path)}")
    return found


def _token_in(name: str, environ: Mapping[str, str]) -> str | None:
    return clean_token(name, environ[name]) if environ.get(name, "").strip() else None


def _token_in_file(environ: Mapping[str, str]) -> str | None:
    try:
        path = Path(environ.get("HF_TOKEN_PATH") or _hf_home(environ) / "token").expanduser()
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):  # the last one: there is no home folder
        return None
    return clean_token(str(path), text) if text else None
