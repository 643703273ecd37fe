"""Change one key of a TOML text and nothing else: comments, order and spacing stay as their author left them.

The text is cut into statements: the shortest runs of lines that are TOML by themselves. A key, a header, a comment and
an empty line are one line each; a list or a string over several lines is one statement. Whatever comes out is parsed
again and compared: it is what the text said before, but for the one key, or ValueError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.configuration.toml import parse_toml

MOST_LINES = 200  # of one statement
_HEADER = re.compile(r"^\s*\[")


def set_key(text: str, table: str | None, key: str, value: Any) -> str:
    """The text with the key set, in the table or at the top level. Raises ValueError if that cannot be done."""
    newline = "\r\n" if "\r\n" in text else "\n"
    statements = list(_statements(text.replace("\r\n", "\n")))
    spelled = _spelling(text, table, key)
    line = f"{spelled} = {show_value(value)}"
    region = _region(statements, table)
    if region is None:
        statements += [*([""] if statements and statements[-1].strip() else []), f"[{table}]", line]
    else:
        place = _find(statements, region, spelled)
        if place is None:
            statements.insert(_after_last_key(statements, region), line)
        else:
            statements[place] = line + _comment_of(statements[place])
    return _checked(text, statements, newline, table, lambda found: found.__setitem__(spelled, value))


def unset_key(text: str, table: str | None, key: str) -> str:
    """The text without the key; the same text if it is not there. Raises ValueError if that cannot be done."""
    newline = "\r\n" if "\r\n" in text else "\n"
    spelled = _spelling(text, table, key)
    if spelled not in _table(parse_toml(text), table):
        return text
    statements = list(_statements(text.replace("\r\n", "\n")))
    region = _region(statements, table)
    place = None if region is None else _find(statements, region, spelled)
    if place is None:
        raise ValueError(f"{key} is written in a way that only its author should change")
    del statements[place]
    return _checked(text, statements, newline, table, lambda found: found.pop(spelled))


def show_value(value: Any) -> str:
    """The value as TOML writes it: text, numbers, true and false, and lists of those."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"[{', '.join(show_value(one) for one in value)}]"


def _statements(text: str) -> Iterator[str]:
    """The shortest runs of lines that are TOML each; a text that parses as a whole is cut without a rest."""
    parse_toml(text)
    run: list[str] = []
    for line in text.removesuffix("\n").split("\n") if text else ():
        run.append(line)
        if _stands_alone("\n".join(run)):
            yield "\n".join(run)
            run = []
        elif len(run) > MOST_LINES:
            raise ValueError(f"a value of more than {MOST_LINES} lines")


def _stands_alone(text: str) -> bool:
    try:
        parse_toml(text)
    except ValueError:
        return False
    return True


def _region(statements: list[str], table: str | None) -> range | None:
    """The statements of the table, without its header; None if it has none."""
    headers = [at for at, one in enumerate(statements) if _HEADER.match(one)]
    if table is None:
        return range(headers[0] if headers else len(statements))
    for at, after in zip(headers, [*headers[1:], len(statements)]):
        if parse_toml(statements[at]) == {table: {}}:
            return range(at + 1, after)
    return None


def _find(statements: list[str], region: range, key: str) -> int | None:
    return next((at for at in region if key in parse_toml(statements[at])), None)


def _after_last_key(statements: list[str], region: range) -> int:
    """Behind the last key of the region; without one, behind the comments that its file or table begins with."""
    keys = [at for at in region if parse_toml(statements[at])]
    if keys:
        return keys[-1] + 1
    at = region.start
    while at < region.stop and statements[at].lstrip().startswith("#"):
        at += 1
    return at


def _comment_of(statement: str) -> str:
    """The comment behind a value, with the space before it."""
    line = statement.rpartition("\n")[2]
    before = statement[: len(statement) - len(line)]
    for at, char in enumerate(line):
        if char == "#" and _stands_alone(before + line[:at]):
            value = line[:at].rstrip()
            return line[len(value) :]
    return ""


def _spelling(text: str, table: str | None, key: str) -> str:
    """The key as the text has it: `index_url` is left as it is."""
    found = _table(parse_toml(text), table)
    underscored = key.replace("-", "_")
    return underscored if underscored in found and key not in found else key


def _table(found: Mapping[str, Any], table: str | None) -> Mapping[str, Any]:
    inner = found if table is None else found.get(table, {})
    if not isinstance(inner, dict):
        raise ValueError(f"{table} is not a table")
    return inner


def _checked(text: str, statements: list[str], newline: str, table: str | None, change: Any) -> str:
    """The new text, if it says what the old one said and the change."""
    expected = parse_toml(text)
    change(expected if table is None else expected.setdefault(table, {}))
    new = "".join(f"{one}\n" for one in statements)
    if parse_toml(new) != expected:
        raise ValueError("the file is written in a way that only its author should change")
    return new.replace("\n", newline)
