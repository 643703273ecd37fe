"""What a client of git asks for, read with limits: protocol version 2, and version 0 for older clients.

The body of a request is a run of packets (git: `gitprotocol-common`). Version 2 says a command, capabilities, a
delimiter, arguments, a flush (`gitprotocol-v2`). Version 0 says `want` lines, the first of which has the
capabilities, `shallow` and `deepen` lines, a flush, then `have` lines and `done` (`gitprotocol-pack`).
"""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

from django.http import HttpRequest
from dulwich.errors import GitProtocolError, HangupException
from dulwich.protocol import Protocol

MOST_BYTES = 16 << 20  # of a request, unpacked: a quarter of a million ids
MOST_IDS = 250_000  # of each kind: a checkout of a partial clone asks for every file by its id
UNLIMITED_DEPTH = 0x7FFFFFFF  # what git sends for --unshallow
FILTERS = frozenset({"blob:none", "tree:0"})
_OID = re.compile(r"[0-9a-f]{40}")
# What does not change what we send: there are no deltas to be thin or at an offset, and no annotated tags.
_IGNORED = frozenset({"thin-pack", "ofs-delta", "no-progress", "include-tag", "sideband-all"})


class Refused(Exception):
    """What git prints after `fatal: remote error:`."""


@dataclass
class Fetch:
    """Objects that are wanted, commits that are there already, and where the history should end."""

    wants: list[str] = field(default_factory=list)
    haves: list[str] = field(default_factory=list)
    is_done: bool = False
    is_over: bool = False
    """Version 0 only: the body ended with the wants, to hear no more than where the history is cut."""
    shallow: set[str] = field(default_factory=set)
    depth: int = 0
    is_relative: bool = False
    since: int | None = None
    without: list[str] = field(default_factory=list)
    filter: str = ""
    capabilities: frozenset[str] = frozenset()

    @property
    def deepens(self) -> bool:
        """Whether the client said where its history should end."""
        return bool(self.depth or self.since is not None or self.without)


@dataclass
class ListRefs:
    """Which refs are asked for, and what of them."""

    prefixes: list[str] = field(default_factory=list)
    with_symrefs: bool = False
    with_unborn: bool = False


def read_body(request: HttpRequest) -> bytes:
    """The body of the request, unpacked. Raises Refused when it is too large or damaged."""
    is_chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    # Django reads as many bytes as were announced, and so none of a body that comes in chunks.
    read: Callable[[int], bytes] = request.META["wsgi.input"].read if is_chunked else request.read
    packed = read(MOST_BYTES + 1)
    encoding = request.headers.get("Content-Encoding", "").lower()
    if encoding in ("gzip", "x-gzip"):
        packed = _unpack(packed)
    if len(packed) > MOST_BYTES:
        raise Refused(f"a request may have at most {MOST_BYTES} bytes; ask for less at a time")
    return packed


def _unpack(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed, MOST_BYTES + 1)
    except zlib.error as error:
        raise Refused(f"the request says that it is gzip, and is not ({error})") from None


# --- version 2 --------------------------------------------------------------------------------------------


def read_command(body: bytes) -> Fetch | ListRefs | None:
    """What a request of version 2 asks for; None for an empty one, which git sends to try its credentials."""
    lines = _Lines(body)
    heading = list(lines.section())
    if not heading:
        return None
    command = next((line[8:] for line in heading if line.startswith("command=")), "")
    if any(line.startswith("object-format=") and line != "object-format=sha1" for line in heading):
        raise Refused("object ids are sha1 here")
    arguments = lines.section()
    if command == "ls-refs":
        return _read_ls_refs(arguments)
    if command == "fetch":
        return _read_fetch(arguments)
    raise Refused(f"there is no command {command[:40]!r} here")


def _read_ls_refs(lines: Iterator[str]) -> ListRefs:
    asked = ListRefs()
    for line in lines:
        word, _, value = line.partition(" ")
        if word == "ref-prefix":
            _add(asked.prefixes, value, "ref-prefix")
        asked.with_symrefs |= word == "symrefs"
        asked.with_unborn |= word == "unborn"
    return asked


def _read_fetch(lines: Iterator[str]) -> Fetch:
    asked = Fetch()
    for line in lines:
        _note(asked, line)
    return asked


def _note(asked: Fetch, line: str) -> None:
    """One line of a fetch, which both versions spell alike."""
    word, _, value = line.partition(" ")
    if word == "want":
        _add(asked.wants, _oid(value), word)
    elif word == "have":
        _add(asked.haves, _oid(value), word)
    elif word == "shallow":
        asked.shallow.add(_oid(value))
    elif word in ("deepen", "deepen-since"):
        number = _number(word, value)
        asked.depth, asked.since = (number, asked.since) if word == "deepen" else (asked.depth, number)
    elif word == "deepen-relative":
        asked.is_relative = True
    elif word == "deepen-not":
        _add(asked.without, value, word)
    elif word == "filter":
        asked.filter = _filter(value)
    elif word == "done":
        asked.is_done = True
    elif word not in _IGNORED:
        raise Refused(f"{line[:80]!r} is not understood here")


# --- version 0 --------------------------------------------------------------------------------------------


def read_pack_request(body: bytes) -> Fetch | None:
    """What a request of version 0 asks for; None for an empty one."""
    asked, lines = Fetch(), _Lines(body)
    for number, line in enumerate(lines.section()):
        words = line.split(" ")
        if number == 0 and words[0] == "want":
            asked.capabilities = frozenset(words[2:])
            asked.is_relative = "deepen-relative" in words[2:]
        _note(asked, " ".join(words[:2]))
    if not asked.wants:
        return None
    asked.is_over = lines.at_end
    for line in lines.section():
        _note(asked, line)
    return asked


# --- packets ----------------------------------------------------------------------------------------------


class _Lines:
    """The lines of a request in sections, which end with a flush, a delimiter or the body."""

    def __init__(self, body: bytes) -> None:
        self._body = BytesIO(body)
        self._size = len(body)
        self._packets = Protocol(self._body.read, lambda data: None)

    @property
    def at_end(self) -> bool:
        return self._body.tell() >= self._size

    def section(self) -> Iterator[str]:
        while True:
            try:
                packet = self._packets.read_pkt_line()
                if packet is None:
                    return
                yield packet.decode().rstrip("\n")
            except HangupException:
                return
            except (GitProtocolError, UnicodeDecodeError) as error:
                raise Refused(f"the request is damaged ({error})") from None


def _add(values: list[str], value: str, word: str) -> None:
    if len(values) >= MOST_IDS:
        raise Refused(f"a request may have at most {MOST_IDS} lines of {word}")
    values.append(value)


def _oid(value: str) -> str:
    if not _OID.fullmatch(value):
        raise Refused(f"{value[:60]!r} is not an object id")
    return value


def _number(word: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 12):
        raise Refused(f"{word} {value[:20]!r} is not a number")
    return int(value)


def _filter(value: str) -> str:
    if value not in FILTERS:
        raise Refused(f"the filters here are {' and '.join(sorted(FILTERS))}, not {value[:60]!r}")
    return value
