"""One commit object from an upstream that speaks git: two small requests of protocol version 2.

Only the commit itself is asked for (`filter tree:0` at depth 1), and only where the upstream offers to leave the rest
out: nobody's files are packed for us in vain. What it sends is bounded, and nothing of it is believed here.
"""

import zlib
from collections.abc import Iterator
from io import BytesIO

from dulwich.errors import GitProtocolError, HangupException
from dulwich.objects import Commit
from dulwich.protocol import Protocol, pkt_line

from mirror.upstream.errors import BadAnswer
from mirror.upstream.http import Http, Response

VERSION = {"Git-Protocol": "version=2"}
SERVICE = "git-upload-pack"
MOST_BYTES = 1 << 20  # of an answer, and of a commit object
PACK_START = b"PACK\0\0\0\2\0\0\0\1"  # version 2, one object
DATA = b"\1"  # the side band of the pack


def fetch_commit(http: Http, url: str, commit_hash: str) -> bytes | None:
    """The commit object that the repo at `url` has under this hash, not proven; None where it does not offer it.

    Raises UpstreamError: BadAnswer for what is not git's protocol.
    """
    if not _offers_filter(http, url):
        return None
    lines = ["filter tree:0", "deepen 1", f"want {commit_hash}", "done"]
    body = pkt_line(b"command=fetch\n") + pkt_line(b"object-format=sha1\n") + b"0001"
    body += b"".join(pkt_line(f"{line}\n".encode()) for line in lines) + pkt_line(None)
    headers = VERSION | {"Content-Type": f"application/x-{SERVICE}-request"}
    with http.post(f"{url}/{SERVICE}", body, headers) as response:
        answer = _read(http, url, response)
    return _unpack(http, url, answer) if answer is not None else None


def _offers_filter(http: Http, url: str) -> bool:
    with http.get(f"{url}/info/refs?service={SERVICE}", VERSION) as response:
        answer = _read(http, url, response)
    if answer is None:
        return False
    offers = (line.rstrip(b"\n").partition(b"=") for line in _lines(http, url, answer))
    return any(name == b"fetch" and b"filter" in value.split() for name, _, value in offers)


def _read(http: Http, url: str, response: Response) -> bytes | None:
    """The whole answer, if it is one of git's."""
    kind = response.headers.get("Content-Type", "")
    if response.status != 200 or not kind.startswith(f"application/x-{SERVICE}-"):
        return None
    answer = response.read(MOST_BYTES + 1)
    if len(answer) > MOST_BYTES:
        raise BadAnswer(http.where, url, f"more than {MOST_BYTES} bytes")
    return answer


def _lines(http: Http, url: str, answer: bytes) -> Iterator[bytes]:
    """The lines of every packet. Ends and delimiters of sections are left out."""
    body = BytesIO(answer)
    packets = Protocol(body.read, lambda data: None)
    while body.tell() < len(answer):
        try:
            line = packets.read_pkt_line()
        except (GitProtocolError, HangupException) as error:
            raise BadAnswer(http.where, url, f"damaged packets ({error})") from None
        if line is not None:
            yield line


def _unpack(http: Http, url: str, answer: bytes) -> bytes:
    """The only object of the pack, which is a commit."""
    lines = _lines(http, url, answer)
    for line in lines:
        if line.rstrip(b"\n") == b"packfile":
            break
    pack = b"".join(line[1:] for line in lines if line.startswith(DATA))
    try:
        return _commit_in(pack)
    except (ValueError, IndexError, zlib.error) as error:
        raise BadAnswer(http.where, url, f"not a pack of one commit ({error})") from None


def _commit_in(pack: bytes) -> bytes:
    """The commit of a pack that has nothing else. Never unpacks more than its header announces."""
    if not pack.startswith(PACK_START):
        raise ValueError(f"it starts with {pack[: len(PACK_START)]!r}")
    position = len(PACK_START)
    kind, size, shift = pack[position] >> 4 & 7, pack[position] & 15, 4
    while pack[position] & 0x80 and shift < 32:
        position += 1
        size |= (pack[position] & 0x7F) << shift
        shift += 7
    if kind != Commit.type_num or size > MOST_BYTES:
        raise ValueError(f"an object of kind {kind} and {size} bytes")
    body = zlib.decompressobj().decompress(pack[position + 1 :], size + 1)
    if len(body) != size:
        raise ValueError(f"{size} bytes were announced")
    return body
