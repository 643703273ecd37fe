"""What strangers send as a request of git is read with limits, or refused with a sentence."""

import gzip
import zlib
from contextlib import suppress

import pytest
from django.test import RequestFactory
from dulwich.protocol import pkt_line
from hypothesis import given
from hypothesis import strategies as st

from mirror.git import asking
from mirror.git.asking import Fetch, ListRefs, Refused, read_body, read_command, read_pack_request

pytestmark = pytest.mark.one_backend

OID = "ab" * 20


def packets(*lines: str | None) -> bytes:
    """Lines as packets; None is a flush, "" a delimiter."""
    return b"".join(
        b"0001" if line == "" else pkt_line(None if line is None else line.encode()) for line in lines
    )


def posted(body: bytes, **headers: str) -> bytes:
    return read_body(RequestFactory().post("/", body, content_type="application/x-git", headers=headers))


def test_a_fetch_of_version_2_is_read() -> None:
    body = packets(
        "command=fetch", "agent=git/2.39", "object-format=sha1", "", "thin-pack", f"want {OID}\n", f"have {OID}",
        f"shallow {OID}", "deepen 3", "deepen-relative", "filter blob:none", "done", None,
    )  # fmt: skip
    assert read_command(body) == Fetch(
        wants=[OID], haves=[OID], is_done=True, shallow={OID}, depth=3, is_relative=True, filter="blob:none"
    )


def test_a_fetch_of_version_0_is_read() -> None:
    start = packets(f"want {OID} side-band-64k no-done agent=git/1.8", f"want {OID}", "deepen 1", None)
    first = read_pack_request(start)
    assert first is not None
    assert first.is_over
    assert first.capabilities >= {"side-band-64k", "no-done"}
    assert (first.wants, first.depth) == ([OID, OID], 1)
    second = read_pack_request(start + packets(f"have {OID}", "done"))
    assert second is not None
    assert (second.haves, second.is_done, second.is_over) == ([OID], True, False)


def test_refs_are_asked_for_by_their_beginning() -> None:
    body = packets("command=ls-refs", "", "peel", "symrefs", "ref-prefix refs/heads/", None)
    assert read_command(body) == ListRefs(prefixes=["refs/heads/"], with_symrefs=True)


@pytest.mark.parametrize("read", [read_command, read_pack_request])
def test_an_empty_request_only_tries_the_credentials(read: object) -> None:
    assert read(b"0000") is None  # type: ignore[operator]


@pytest.mark.parametrize(
    "lines",
    [
        ["want ab"], ["want " + "zz" * 20], ["have"], ["deepen -1"], ["deepen 9999999999999"], ["deepen-since x"],
        ["filter blob:limit=1g"], ["filter sparse:oid=main:x"], ["frobnicate"],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(lines: list[str]) -> None:
    with pytest.raises(Refused):
        read_command(packets("command=fetch", "", *lines, None))


@pytest.mark.parametrize(
    "body", [b"zzzz", b"0003", b"00", b"0010command=", b"ffff", packets("command=push", None)]
)
def test_damaged_packets_are_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        read_command(body)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_asks_for_nothing(noise: bytes) -> None:
    for read in (read_command, read_pack_request):
        for body in (noise, packets("command=fetch", "") + noise):
            with suppress(Refused):
                found = read(body)
                assert found is None or isinstance(found, Fetch | ListRefs)


def test_more_ids_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_IDS", 10)
    with pytest.raises(Refused, match="at most 10 lines of have"):
        read_command(packets("command=fetch", "", *[f"have {OID}"] * 11, None))


def test_a_packed_request_is_unpacked_up_to_the_limit() -> None:
    body = packets("command=ls-refs", None)
    assert posted(gzip.compress(body), content_encoding="gzip") == body
    bomb = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    block = bytes(1 << 20)
    packed = b"".join(
        [*(bomb.compress(block) for _ in range(asking.MOST_BYTES // len(block) + 1)), bomb.flush()]
    )
    assert len(packed) < 100_000
    with pytest.raises(Refused, match="at most"):
        posted(packed, content_encoding="gzip")
    with pytest.raises(Refused, match="is not"):
        posted(b"no gzip", content_encoding="gzip")
