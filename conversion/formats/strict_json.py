"""JSON from strangers, read member by member, so that nothing is built before its extent is known to be small.

A whole-document parser turns 100 MB of `{"a":{"a":{…` into gigabytes of objects before anyone can object. This walker
holds the text and a position; the caller says what it expects next. Keys are unique, numbers are whole, text is text.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from conversion.formats.errors import HeaderError, quoted

MAX_OBJECT_CHARACTERS = 4096
"""The longest object that `small_object` parses; a tensor's entry takes about a hundred characters."""

_WHITESPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonWalker:
    """A position in a JSON text. Every fault is a HeaderError whose code starts with `prefix`."""

    def __init__(self, data: bytes, prefix: str) -> None:
        self.prefix = prefix
        self.position = 0
        try:
            self.text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HeaderError(f"{prefix}-utf8", f"the JSON is not UTF-8 at its byte {error.start}") from error

    def members(self) -> Iterator[str]:
        """The keys of the object that starts here; the caller reads each value before asking for the next key."""
        self._expect("{")
        seen: set[str] = set()
        while not self._at("}"):
            if seen:
                self._expect(",")
            key = self.string()
            if key in seen:
                raise HeaderError(f"{self.prefix}-duplicate-key", f"the key {quoted(key)} appears twice")
            seen.add(key)
            self._expect(":")
            yield key
        self.position += 1

    def string(self) -> str:
        """The string that starts here. Refuses half a surrogate pair, which could be neither stored nor shown."""
        if not self._at('"'):
            raise self._unexpected("a quoted string")
        try:
            value, self.position = _STRINGS.raw_decode(self.text, self.position)
        except ValueError as error:
            raise self._unexpected("a whole string") from error
        if not value.isascii() and _SURROGATE.search(value):
            raise HeaderError(
                f"{self.prefix}-utf8", f"the string {quoted(value)} contains half a surrogate pair"
            )
        return str(value)

    def strings(self, most: int) -> dict[str, str]:
        """The object that starts here, whose values must all be strings; refused beyond `most` of them."""
        found: dict[str, str] = {}
        for key in self.members():
            if len(found) == most:
                raise HeaderError(f"{self.prefix}-key-count", f"an object of more than {most} keys")
            found[key] = self.string()
        return found

    def small_object(self) -> dict[str, Any]:
        """The object that starts here, of at most `MAX_OBJECT_CHARACTERS` and with no object or brace inside."""
        return self._small_object(_WHOLE_NUMBERS)

    def small_value(self) -> None:
        """Moves past a value nobody needs: a small object, a string, or a word such as a number."""
        if self._at("{"):
            self._small_object(_ANY_NUMBERS)
        elif self._at('"'):
            self.string()
        elif match := _WORD.match(self.text, self.position):
            self.position = match.end()
        else:
            raise self._unexpected("a short value")

    def finish(self) -> None:
        """Nothing but white space is left."""
        self._skip_whitespace()
        if self.position != len(self.text):
            raise self._unexpected("the end of the JSON")

    def _small_object(self, decoder: json.JSONDecoder) -> dict[str, Any]:
        if not self._at("{"):
            raise self._unexpected("an object")
        end = self.text.find("}", self.position, self.position + MAX_OBJECT_CHARACTERS) + 1
        if end == 0:
            raise HeaderError(
                f"{self.prefix}-json",
                f"an object of more than {MAX_OBJECT_CHARACTERS} characters at character {self.position}",
            )
        try:
            fields = decoder.decode(self.text[self.position : end])
        except _RefusedJson as error:
            raise HeaderError(f"{self.prefix}-{error.code}", error.message) from error
        except (ValueError, RecursionError) as error:
            raise self._unexpected("valid JSON without nested objects") from error
        self.position = end
        return dict(fields)

    def _at(self, mark: str) -> bool:
        if self.text.startswith(mark, self.position):
            return True
        self._skip_whitespace()
        return self.text.startswith(mark, self.position)

    def _expect(self, mark: str) -> None:
        if not self._at(mark):
            raise self._unexpected(repr(mark))
        self.position += 1

    def _skip_whitespace(self) -> None:
        # Not a loop: 100 MB of spaces are valid JSON.
        self.position = _WHITESPACE.match(self.text, self.position).end()  # type: ignore[union-attr]  # matches ""

    def _unexpected(self, expected: str) -> HeaderError:
        rest = self.text[self.position : self.position + 16]
        found = quoted(rest) if rest else "the end"
        return HeaderError(
            f"{self.prefix}-json", f"expected {expected} at character {self.position}, found {found}"
        )


class _RefusedJson(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RefusedJson("duplicate-key", "a field appears twice")
    return fields


def _refuse(literal: str) -> NoReturn:
    raise _RefusedJson("number", f"{quoted(literal)} is not a whole number")


def _whole(literal: str) -> int:
    if literal == "-0":  # a float to other readers, so they would not agree with us
        _refuse(literal)
    return int(literal)


_WORD = re.compile(r"[-+.A-Za-z0-9]{1,64}")
_STRINGS = json.JSONDecoder()
_WHOLE_NUMBERS = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_refuse, parse_constant=_refuse
)
_ANY_NUMBERS = json.JSONDecoder(object_pairs_hook=_unique)
