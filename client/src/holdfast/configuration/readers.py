"""One function for each kind of value: from text, from what TOML has or from what argparse made, to what we use.

Each takes the raw value and the folder that relative paths start at, and raises ValueError(what it is not, a hint).
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable
from urllib.parse import urlsplit

from holdfast.text import parse_bytes

MAX_WORKERS = 64
MAX_RETRIES = 1000
MAX_SECONDS = 86400
_SCHEMES = ("http", "https", "s3", "s3+http", "s3+https")
_ON = frozenset({"1", "on", "yes", "true"})
_OFF = frozenset({"0", "off", "no", "false"})


def is_on(raw: object) -> bool:
    """Whether it is a word for yes."""
    return str(raw).strip().lower() in _ON


def read_switch(raw: object, _base: Path) -> bool:
    """True or false."""
    word = str(raw).strip().lower()
    if word not in _ON | _OFF:
        raise ValueError("is neither true nor false", "write true or false")
    return word in _ON


def read_url(raw: object, _base: Path) -> str:
    """The address of an index or a bucket, without credentials, query and final slash."""
    text = _text(raw)
    _check_url(text)
    return text.rstrip("/")


def read_urls(raw: object, base: Path) -> tuple[str, ...]:
    """Addresses: a list, or text with spaces between them."""
    return tuple(dict.fromkeys(read_url(one, base) for one in _items(raw)))


def read_places(raw: object, base: Path) -> tuple[str, ...]:
    """Folders and addresses: a list, or one as text (a folder's name may hold a space). Folders become absolute."""
    items = [raw] if isinstance(raw, str) else _items(raw)
    return tuple(dict.fromkeys(_place(one, base) for one in items if str(one).strip()))


def _place(raw: object, base: Path) -> str:
    text = _text(raw)
    if text.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        return read_url(text, base)
    return str(read_path(text[len("file://") :] if text.startswith("file://") else text, base))


def read_path(raw: object, base: Path) -> Path:
    """An absolute path; `~` is the home folder."""
    text = _text(raw)
    if not text or "\0" in text:
        raise ValueError("is not a path", "")
    try:
        return base / Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("starts with a home folder that is not there", "write the path in full") from error


def read_cert_pair(raw: object, base: Path) -> tuple[Path, Path | None]:
    """A certificate with its key in one file, or `certificate,key` in two."""
    certificate, _comma, key = _text(raw).partition(",")
    return read_path(certificate, base), read_path(key, base) if key else None


def read_proxy(raw: object, _base: Path) -> str:
    """The address of a proxy, which may hold credentials."""
    text = _text(raw)
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is not the address of a proxy", "write for example http://proxy.example:3128")
    return text


def read_hosts(raw: object, _base: Path) -> tuple[str, ...]:
    """Hosts, or hosts with ports: a list, or text with spaces between them."""
    hosts = tuple(dict.fromkeys(_text(one).lower() for one in _items(raw)))
    if any(not host or set(host) & set("/@,*") for host in hosts):
        raise ValueError("is not a host or host:port", "write for example models.example:8443")
    return hosts


def read_size(raw: object, _base: Path) -> int:
    """A number of bytes: 500000, 500k, 10M, 200G."""
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and raw > 0 else parse_bytes(_text(raw))


def read_seconds(raw: object, _base: Path) -> float:
    """A time, above zero and at most a day."""
    try:
        value = float(_text(raw) if isinstance(raw, str) else raw)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = 0.0
    if isinstance(raw, bool) or not 0 < value <= MAX_SECONDS:
        raise ValueError("is not a number of seconds", "write for example 30")
    return value


def read_count(raw: object, _base: Path) -> int:
    """How often."""
    return _whole(raw, 0, MAX_RETRIES)


def read_workers(raw: object, _base: Path) -> int:
    """How many at once."""
    return _whole(raw, 1, MAX_WORKERS)


def read_choice(*choices: str) -> Callable[[object, Path], str]:
    """One of these words."""

    def read(raw: object, _base: Path) -> str:
        if raw not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}", "")
        return str(raw)

    return read


def _whole(raw: object, least: int, most: int) -> int:
    text = str(raw).strip()
    if not text.isdecimal() or not least <= int(text[:9]) <= most or len(text) > 9:
        raise ValueError(f"is not a number from {least} to {most}", "")
    return int(text)


def _text(raw: object) -> str:
    if not isinstance(raw, (str, Path)):
        raise ValueError("is not text", "")
    return str(raw).strip()


def _items(raw: object) -> list[object]:
    if isinstance(raw, str):
        return list(raw.split())
    if isinstance(raw, (list, tuple)):
        return list(raw)
    raise ValueError("is not a list", 'write for example ["https://models.example"]')


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise ValueError("is not an http(s) URL", "write for example http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise ValueError("holds credentials", "leave them out, and use holdfast login or HOLDFAST_TOKEN")
