"""One question and one answer at a time with a process that may be hostile: bounded in bytes, time and shape.

Each message is a little-endian uint32 length and that many bytes of JSON. The other side may answer too much, too
slowly, in pieces, nonsense, or never; it may stop reading, or close its ends and live on. Whatever it does, `ask`
returns an Answer before the deadline or raises one of the three ends below. Nothing of an answer reaches a terminal
or a page unless it is printable.
"""

import json
import os
import re
import select
import struct
import time
from typing import Any, NoReturn

from conversion.inference.engine import EngineError

MAX_ANSWER_BYTES = 2**20
MAX_MESSAGE_CHARACTERS = 2_000
MAX_ITEMS, MAX_DEPTH = 50, 4
_CODE = re.compile(r"[a-z][a-z-]{1,60}")


class TooLate(Exception):
    """The deadline passed before the answer was complete."""


class HungUp(Exception):
    """The other side closed its end: it died, or pretends to."""


class Answer(dict[str, Any]):
    """What the other side said. Asking for a word that is not there, or not of that kind, is an `engine-answer`."""

    def __missing__(self, word: str) -> NoReturn:
        raise EngineError("engine-answer", f"the engine's answer lacks {word!r}")

    def whole(self, word: str, low: int = 0, high: int = 2**31) -> int:
        """The integer of that name, from `low` to `high`."""
        value = self[word]
        if type(value) is not int or not low <= value <= high:
            raise EngineError("engine-answer", f"the engine answers {str(value)[:60]!r} as {word}")
        return value

    def text(self, word: str) -> str:
        value = self[word]
        if not isinstance(value, str):
            raise EngineError("engine-answer", f"the engine's {word} is not a text")
        return value

    def wholes(self, word: str) -> list[int]:
        """The list of integers of that name."""
        value = self[word]
        if not isinstance(value, list) or not all(type(one) is int for one in value):
            raise EngineError("engine-answer", f"the engine's {word} is not a list of integers")
        return value

    def object(self, word: str) -> "Answer":
        value = self[word]
        if not isinstance(value, dict):
            raise EngineError("engine-answer", f"the engine's {word} is not an object")
        return Answer(value)

    def objects(self, word: str) -> list["Answer"]:
        value = self[word]
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise EngineError("engine-answer", f"the engine's {word} is not a list of objects")
        return list(map(Answer, value))


class Conversation:
    """Owns the two ends of pipes that it is given."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        for descriptor in (requests, answers):
            os.set_blocking(descriptor, False)

    def ask(self, request: dict[str, Any], deadline: float) -> Answer:
        """The answer to `request`, at the latest at `deadline` on the monotonic clock.

        Raises TooLate, HungUp, and EngineError: what the engine says went wrong, or `engine-answer` for an answer that
        is none.
        """
        data = json.dumps(request).encode()
        self._write(struct.pack("<I", len(data)) + data, deadline)
        (length,) = struct.unpack("<I", self._read(4, deadline))
        if length > MAX_ANSWER_BYTES:
            raise EngineError(
                "engine-answer", f"the engine answered {length} bytes; {MAX_ANSWER_BYTES} are allowed"
            )
        answer = _parse(self._read(length, deadline))
        if "error" in answer:
            raise _told(answer)
        return answer

    def _write(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            _wait(self._requests, deadline, to_write=True)
            try:
                view = view[os.write(self._requests, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise HungUp from None

    def _read(self, length: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < length:
            _wait(self._answers, deadline, to_write=False)
            part = os.read(self._answers, length - len(data))
            if not part:
                raise HungUp
            data += part
        return bytes(data)

    def close(self) -> None:
        os.close(self._requests)
        os.close(self._answers)


def _wait(descriptor: int, deadline: float, *, to_write: bool) -> None:
    left, poll = deadline - time.monotonic(), select.poll()
    poll.register(descriptor, select.POLLOUT if to_write else select.POLLIN)
    if left <= 0 or not poll.poll(left * 1000):
        raise TooLate


def _parse(data: bytes) -> Answer:
    try:
        answer = json.loads(data, parse_constant=_refuse)
        if b"\\ud" in data.lower():
            json.dumps(
                answer, ensure_ascii=False
            ).encode()  # half of a surrogate pair is no text, and fits no table
    except (ValueError, RecursionError):
        raise EngineError("engine-answer", "the engine's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise EngineError("engine-answer", "the engine's answer is not a JSON object")
    return Answer(answer)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and infinity are not JSON


def _told(answer: Answer) -> EngineError:
    """The error that the other side reports, with a code that looks like one and a text of bounded length."""
    code, facts = answer.text("error"), answer.get("facts")
    if not _CODE.fullmatch(code):
        return EngineError("engine-answer", "the engine's error has no name")
    error = EngineError(code, printable(answer.text("message")))
    error.facts = tame(facts) if isinstance(facts, dict) else {}
    return error


def printable(text: str) -> str:
    """`text` on one line, without anything that moves a cursor or changes a colour."""
    words = "".join(letter if letter.isprintable() else " " for letter in text[:MAX_MESSAGE_CHARACTERS])
    return " ".join(words.split())


def tame(value: Any, depth: int = 0) -> Any:
    """`value` of JSON with printable texts, and little enough of everything to be quoted in a report."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list) and depth < MAX_DEPTH:
        return [tame(one, depth + 1) for one in value[:MAX_ITEMS]]
    if isinstance(value, dict) and depth < MAX_DEPTH:
        return {printable(name): tame(one, depth + 1) for name, one in list(value.items())[:MAX_ITEMS]}
    return value if isinstance(value, (bool, float, type(None))) or _is_small(value) else "…"


def _is_small(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < 2**63
