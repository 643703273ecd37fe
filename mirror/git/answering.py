"""What a client of git is answered, packet by packet: protocol version 2, and version 0 for older clients."""

import logging
from collections.abc import Iterable, Iterator

from dulwich.protocol import pkt_line

from mirror.blobs.store import StoreError
from mirror.git.asking import Fetch, ListRefs, Refused
from mirror.git.history import HEAD_TARGET, History, Selection
from mirror.git.packing import BytesDiffer, Pack
from mirror.store import blob_store

logger = logging.getLogger(__name__)

SERVICE = "git-upload-pack"
AGENT = "agent=holdfast"
FLUSH, DELIMITER = pkt_line(None), b"0001"
DATA, FATAL = b"\x01", b"\x03"
MOST_SIDEBAND_BYTES = 65515
NOTHING = "0" * 40
CAPABILITIES = (
    "multi_ack_detailed no-done side-band-64k thin-pack ofs-delta shallow deepen-since deepen-not deepen-relative "
    f"no-progress include-tag allow-tip-sha1-in-want allow-reachable-sha1-in-want filter object-format=sha1 {AGENT}"
)

Packets = Iterator[bytes]


def line(text: str) -> bytes:
    """One line of text as a packet."""
    return pkt_line(f"{text}\n".encode())


def error(message: str) -> bytes:
    """What git prints after `fatal: remote error:`."""
    return pkt_line(f"ERR {message}".encode())


# --- refs -------------------------------------------------------------------------------------------------


def advertise_v2() -> list[bytes]:
    """What version 2 offers; the refs are asked for later."""
    offered = ["version 2", AGENT, "ls-refs=unborn", "fetch=shallow filter", "object-format=sha1"]
    return [line(f"# service={SERVICE}"), FLUSH, *map(line, offered), FLUSH]


def advertise_v0(history: History) -> list[bytes]:
    """Every ref, the first with what we offer, and where the history is cut. One query."""
    refs = history.refs()
    head = refs.get(HEAD_TARGET)
    named = ([("HEAD", head.oid)] if head else []) + [(name, node.oid) for name, node in refs.items()]
    offered = CAPABILITIES + (f" symref=HEAD:{HEAD_TARGET}" if head else "")
    lines = [f"{oid} {name}" for name, oid in named or [("capabilities^{}", NOTHING)]]
    lines[0] += f"\0{offered}"
    cuts = [f"shallow {oid}" for oid in history.cuts()]
    return [line(f"# service={SERVICE}"), FLUSH, *map(line, lines), *map(line, cuts), FLUSH]


def list_refs(history: History, asked: ListRefs) -> list[bytes]:
    """The refs that begin as asked, HEAD before them. One query."""
    refs = history.refs()
    head = refs.get(HEAD_TARGET)
    target = f" symref-target:{HEAD_TARGET}" if asked.with_symrefs else ""
    lines = [("HEAD", f"{head.oid} HEAD{target}")] if head else []
    if head is None and asked.with_unborn:
        lines = [("HEAD", f"unborn HEAD{target}")]
    lines += [(name, f"{node.oid} {name}") for name, node in refs.items()]
    prefixes = tuple(asked.prefixes) or ("",)
    return [*(line(text) for name, text in lines if name.startswith(prefixes)), FLUSH]


# --- fetch ------------------------------------------------------------------------------------------------


def fetch_v2(history: History, asked: Fetch) -> Packets:
    """Acknowledgments while the client still looks for what we share, else the pack."""
    _check_wants(asked)
    if not asked.is_done:
        common = _common(history, asked)
        is_ready = history.is_ready(asked)
        acknowledged = [f"ACK {oid}" for oid in common] or ["NAK"]
        told = [line(text) for text in ["acknowledgments", *acknowledged, *(["ready"] if is_ready else [])]]
        if not is_ready:
            return iter([*told, FLUSH])
        return _sections(history, asked, [*told, DELIMITER])
    return _sections(history, asked, [])


def _sections(history: History, asked: Fetch, before: list[bytes]) -> Packets:
    """Where the history ends, and the pack. What can fail in the plan fails here, before the first packet."""
    selection = history.select(asked)
    cuts = _cuts(selection)
    if cuts or asked.deepens:
        before = [*before, line("shallow-info"), *cuts, DELIMITER]
    pack = plan_pack(history, asked, selection)
    return _with_pack([*before, line("packfile")], _sideband(pack))


def fetch_v0(history: History, asked: Fetch) -> Packets:
    """The same in version 0, which says each time again where the history ends."""
    _check_wants(asked)
    selection = history.select(asked)
    told = [*_cuts(selection), FLUSH] if asked.deepens else []
    if asked.is_over:
        return iter(told)
    told += _acknowledge_v0(history, asked)
    if not asked.is_done and not _may_hurry(history, asked):
        return iter(told)
    pack = plan_pack(history, asked, selection)
    return _with_pack(told, _sideband(pack) if "side-band-64k" in asked.capabilities else _plain(pack))


def _acknowledge_v0(history: History, asked: Fetch) -> list[bytes]:
    """Which commits we share; the last line before a pack names one of them, or says that there is none."""
    common = _common(history, asked)
    last = [line(f"ACK {common[-1]}" if common else "NAK")]
    if "multi_ack_detailed" not in asked.capabilities:
        return [line(f"ACK {common[0]}")] if common else last
    told = [line(f"ACK {oid} common") for oid in common]
    if asked.is_done:
        return told + last
    if history.is_ready(asked):
        told.append(line(f"ACK {common[-1]} ready"))
    return [*told, line("NAK"), *(last if _may_hurry(history, asked) else [])]


def _may_hurry(history: History, asked: Fetch) -> bool:
    """Whether the client takes the pack as soon as we know enough, without saying `done`."""
    return {"no-done", "multi_ack_detailed"} <= asked.capabilities and history.is_ready(asked)


def _check_wants(asked: Fetch) -> None:
    """What is wanted must be in the repo, too; the plan of the pack finds out."""
    if not asked.wants:
        raise Refused("nothing is wanted")


def plan_pack(history: History, asked: Fetch, selection: Selection) -> Pack:
    """The plan of the pack for this client; the caller closes it."""
    pack = Pack(blob_store())
    try:
        pack.add_selection(selection, asked.filter)
        others = [oid for oid in dict.fromkeys(asked.wants) if oid not in history.nodes]
        pack.add_wanted(history, others, asked.filter)
    except BaseException:
        pack.close()
        raise
    return pack


def _common(history: History, asked: Fetch) -> list[str]:
    return [oid for oid in dict.fromkeys(asked.haves) if oid in history.nodes]


def _cuts(selection: Selection) -> list[bytes]:
    cut = [line(f"shallow {oid}") for oid in selection.shallow]
    return cut + [line(f"unshallow {oid}") for oid in selection.unshallow]


def _with_pack(before: Iterable[bytes], pack: Packets) -> Packets:
    yield b"".join(before)
    yield from pack


# --- the pack on the wire ---------------------------------------------------------------------------------


def _sideband(pack: Pack) -> Packets:
    """The pack in packets of at most 64 KiB; an error ends it with a sentence that git prints."""
    waiting = bytearray()
    with pack:
        try:
            for chunk in pack.chunks():
                waiting += chunk
                while len(waiting) >= MOST_SIDEBAND_BYTES:
                    yield pkt_line(DATA + bytes(waiting[:MOST_SIDEBAND_BYTES]))
                    del waiting[:MOST_SIDEBAND_BYTES]
        except (BytesDiffer, StoreError) as failure:
            logger.error("a pack ended early: %s", failure)
            yield pkt_line(FATAL + f"{failure}\n".encode())
            return
    yield pkt_line(DATA + bytes(waiting)) + FLUSH


def _plain(pack: Pack) -> Packets:
    """The pack as it is, for clients without side bands; an error cuts it."""
    with pack:
        try:
            yield from pack.chunks()
        except (BytesDiffer, StoreError) as failure:
            logger.error("a pack ended early: %s", failure)
