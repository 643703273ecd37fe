"""A pickle interpreter that runs nothing: it turns the pickle of a state dict into dicts, lists, numbers and Views.

It knows the opcodes that torch.save writes (protocols 2 to 5) and refuses every other by name; a global is a key of
`allowed.GLOBALS`; a persistent id must be a storage. So the worst that a pickle can do is to be long, and for that
there are counts: the worst pickle within them takes two seconds and less than 320 MB (test_machine.py sees to it).

Opcodes are those of Python's pickletools; `_rebuild_tensor_v2` and the others are read from torch/_utils.py.
"""

import struct
from collections.abc import Callable
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.pytorch.allowed import allowed, called, storage_of
from conversion.formats.pytorch.stream import PickleStream, as_text
from conversion.formats.pytorch.views import Storage

MAX_OPCODES = 2_000_000
"""One tensor takes about forty: fifty thousand tensors in one file."""

MAX_STACK = 1_000_000
MAX_MEMO = 1_000_000
MAX_PROTOCOL = 5
MAX_INT_BYTES = 16
MAX_KEY = 2**31
"""Whole numbers as keys of dicts and of the memo. Small ones cannot be chosen so that they collide in a dict."""

REFUSED_NAMES = {
    0x81: "NEWOBJ", 0x92: "NEWOBJ_EX", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER", 0x8F: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET",
    ord("i"): "INST", ord("o"): "OBJ", ord("P"): "PERSID", ord("I"): "INT", ord("L"): "LONG", ord("F"): "FLOAT",
    ord("S"): "STRING", ord("V"): "UNICODE", ord("p"): "PUT", ord("g"): "GET", ord("2"): "DUP", ord("l"): "LIST",
    ord("d"): "DICT", 0x8B: "LONG4", 0x8D: "BINUNICODE8", 0x8E: "BINBYTES8",
}  # fmt: skip
"""Only for messages: whatever is not in `_HANDLERS` is refused, named here or not."""

_MARK = object()


class Machine:
    """One pickle: a stack, a memo, and the storages that were named."""

    def __init__(self, stream: PickleStream) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> Any:
        """The value that the pickle describes; the stream then stands behind its STOP."""
        take, handlers = self.stream.take, _HANDLERS
        for _ in range(MAX_OPCODES):
            at, opcode = self.stream.position, take(1)[0]
            if opcode == _STOP:
                return self._result()
            handler = handlers.get(opcode)
            if handler is None:
                raise _refused(opcode, at)
            handler(self)
            if len(self.stack) > MAX_STACK:
                raise HeaderError("pt-stack", f"the pickle piles up more than {MAX_STACK} values")
        raise HeaderError("pt-opcode-count", f"the pickle goes on after {MAX_OPCODES} opcodes")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise HeaderError("pt-stack", "the pickle takes a value from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """The values above the last mark, which goes away with them. Costs what was pushed, so nothing in the sum."""
        values: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                values.reverse()
                return values
            values.append(value)
        raise HeaderError("pt-stack", "the pickle closes a group that it never opened")

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def remember(self, index: int) -> None:
        value = self.pop()
        if index > MAX_KEY or len(self.memo) == MAX_MEMO:
            raise HeaderError("pt-memo", f"the pickle stores value {index}, or more than {MAX_MEMO} of them")
        self.memo[index] = value
        self.push(value)

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise HeaderError("pt-memo", f"the pickle recalls value {index}, which it never stored")
        self.push(self.memo[index])

    def set_items(self, values: list[Any]) -> None:
        target = self.pop()
        if not isinstance(target, dict) or len(values) % 2:
            raise HeaderError("pt-pickle", "items are put into something that is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str) and not (type(key) is int and 0 <= key < MAX_KEY):
                raise HeaderError(
                    "pt-key", f"a dict's key is a {type(key).__name__}; text and small numbers are read"
                )
            target[key] = value
        self.push(target)

    def extend(self, values: list[Any]) -> None:
        target = self.pop()
        if not isinstance(target, list):
            raise HeaderError("pt-pickle", "elements are put into something that is no list")
        target.extend(values)
        self.push(target)

    def call(self) -> None:
        arguments = self.pop()
        self.push(called(self.pop(), arguments))

    def build(self) -> None:
        """torch hangs `_metadata` on the OrderedDict of a state dict; it says nothing about weights."""
        state, target = self.pop(), self.pop()
        if not isinstance(target, dict) or not isinstance(state, dict):
            raise HeaderError(
                "pt-call", f"a state is given to a {type(target).__name__}; only dicts may have one"
            )
        self.push(target)

    def refer(self) -> None:
        storage = storage_of(self.pop())
        known = self.storages.setdefault(storage.key, storage)
        if known.size_bytes != storage.size_bytes:
            raise HeaderError(
                "pt-storage",
                f"storage {quoted(storage.key)} has {known.size_bytes} bytes in one place and "
                f"{storage.size_bytes} in another",
            )
        self.push(storage)

    def global_line(self) -> None:
        module = self.stream.line()
        self.push(allowed(module, self.stream.line()))

    def global_stack(self) -> None:
        name = self.pop()
        self.push(allowed(self.pop(), name))

    def protocol(self) -> None:
        number = self.stream.take_int(1)
        if number > MAX_PROTOCOL:
            raise HeaderError("pt-pickle", f"pickle protocol {number}; up to {MAX_PROTOCOL} are read")

    def frame(self) -> None:
        """A frame only says how much to read ahead."""
        self.stream.take(8)

    def forget(self) -> None:
        self.pop()

    def long(self) -> None:
        length = self.stream.take_int(1)
        if length > MAX_INT_BYTES:
            raise HeaderError("pt-pickle", f"a number of {length} bytes; at most {MAX_INT_BYTES} are read")
        self.push(int.from_bytes(self.stream.take(length), "little", signed=True))

    def text(self, length_bytes: int) -> None:
        self.push(as_text(self.stream.take(self.stream.take_int(length_bytes))))

    def binary(self, length_bytes: int) -> None:
        self.push(self.stream.take(self.stream.take_int(length_bytes)))

    def _result(self) -> Any:
        value = self.pop()
        if self.stack:
            raise HeaderError("pt-stack", f"the pickle ends with {len(self.stack)} values too many")
        return value


def run(stream: PickleStream) -> tuple[Any, dict[str, Storage]]:
    """The value of the pickle that starts here, and the storages it names by key."""
    machine = Machine(stream)
    return machine.run(), machine.storages


def _refused(opcode: int, position: int) -> HeaderError:
    name = REFUSED_NAMES.get(opcode)
    shown = f"{name} (0x{opcode:02x})" if name else f"0x{opcode:02x}"
    return HeaderError(
        "pt-opcode", f"the pickle has opcode {shown} at byte {position}, which no checkpoint of weights needs"
    )


_Handler = Callable[[Machine], None]

_STOP = ord(".")
_CONSTANTS: dict[int, _Handler] = {
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord(")"): lambda m: m.push(()),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord("("): lambda m: m.push(_MARK),
}
_NUMBERS: dict[int, _Handler] = {
    ord("J"): lambda m: m.push(struct.unpack("<i", m.stream.take(4))[0]),
    ord("K"): lambda m: m.push(m.stream.take_int(1)),
    ord("M"): lambda m: m.push(m.stream.take_int(2)),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.stream.take(8))[0]),
    0x8A: Machine.long,
}
_TEXTS: dict[int, _Handler] = {
    ord("X"): lambda m: m.text(4),
    ord("T"): lambda m: m.text(4),  # BINSTRING and SHORT_BINSTRING are what Python 2 wrote
    ord("U"): lambda m: m.text(1),
    0x8C: lambda m: m.text(1),
    ord("B"): lambda m: m.binary(4),
    ord("C"): lambda m: m.binary(1),
}
_STRUCTURE: dict[int, _Handler] = {
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("s"): lambda m: m.set_items(list(reversed([m.pop(), m.pop()]))),
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.pop_to_mark()),
    ord("0"): lambda m: m.forget(),
    ord("1"): lambda m: m.pop_to_mark().clear(),
    ord("q"): lambda m: m.remember(m.stream.take_int(1)),
    ord("r"): lambda m: m.remember(m.stream.take_int(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.stream.take_int(1)),
    ord("j"): lambda m: m.recall(m.stream.take_int(4)),
}
_MEANINGS: dict[int, _Handler] = {
    ord("c"): Machine.global_line,
    0x93: Machine.global_stack,
    ord("R"): Machine.call,
    ord("b"): Machine.build,
    ord("Q"): Machine.refer,
    0x80: Machine.protocol,
    0x95: Machine.frame,
}
_HANDLERS = _CONSTANTS | _NUMBERS | _TEXTS | _STRUCTURE | _MEANINGS
