"""Typed readers of the environment. A bad value fails loudly, naming the variable and what it accepts."""

import os
import re
import secrets
from pathlib import Path


class BadSetting(Exception):
    """An environment variable holds something we cannot use."""

    def __init__(self, name: str, value: str, accepted: str) -> None:
        super().__init__(f"{name}={value!r} is not usable: it must be {accepted}. See docs/operate.md.")
        self.name, self.value, self.accepted = name, value, accepted


def read_text(name: str, default: str) -> str:
    return os.environ.get(name, default).strip()


def read_bool(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    if value:
        raise BadSetting(name, value, "1 or 0")
    return default


def read_int(name: str, default: int, *, least: int = 0) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    if not value.isdecimal() or int(value) < least:
        raise BadSetting(name, value, f"a whole number of at least {least}")
    return int(value)


def read_float(name: str, default: float) -> float:
    value = os.environ.get(name, "").strip()
    try:
        number = float(value) if value else default
    except ValueError:
        raise BadSetting(name, value, "a number") from None
    if not 0 < number < float("inf"):
        raise BadSetting(name, value, "a number above 0")
    return number


def read_list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def read_choice(name: str, default: str, choices: set[str]) -> str:
    value = read_text(name, default)
    if value not in choices:
        raise BadSetting(name, value, "one of " + ", ".join(sorted(choices)))
    return value


def read_rates(name: str, default: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """`api=3000/300,pages=0`: requests per seconds of each name, 0: no limit. What is not named keeps its default."""
    rates = dict(default)
    for item in read_list(name):
        found = re.fullmatch(r"(\w+)=(\d{1,9})(?:/([1-9]\d{0,6}))?", item)
        if found is None or found[1] not in default or (int(found[2]) and not found[3]):
            accepted = f"a list like api=3000/300 (requests/seconds, 0: no limit) of {', '.join(default)}"
            raise BadSetting(name, item, accepted)
        rates[found[1]] = (int(found[2]), int(found[3] or 1))
    return rates


def read_secret(name: str, file: Path) -> str:
    """The variable if set; otherwise a secret kept in `file`, which is made, private to its owner, when absent."""
    if value := os.environ.get(name, "").strip():
        return value
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(secret := secrets.token_urlsafe(50))
    return secret
