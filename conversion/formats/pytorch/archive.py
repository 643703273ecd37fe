"""The zip that torch.save writes since PyTorch 1.6, walked by its central directory and checked against its members.

| record | what |
|---|---|
| `ROOT/data.pkl` | the pickle; tensors in it are persistent ids that name storages |
| `ROOT/data/KEY` | the bytes of storage KEY, as they are in memory |
| `ROOT/byteorder` | `little` or `big`; absent before PyTorch 2.1, and then little |
| `ROOT/version`, `ROOT/.data/serialization_id`, … | passed over |

Every member is stored, never compressed; its local header is padded so that data starts at a multiple of 64, and sizes
follow the data in a data descriptor. ROOT is the same for all. A zip has many ways to say one thing in two places, and
scanners have been fooled by each of them, so everything here has to agree: names and sizes of directory and local
header, offsets in order without overlap, nothing before the first member or after the end record.

Layout of the records: APPNOTE.TXT 6.3.10 of PKWARE, sections 4.3.7 to 4.3.16.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field, replace
from itertools import pairwise

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.source import ByteSource, read_exactly

MAGIC = b"PK\x03\x04"
MAX_MEMBERS = 100_000
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
MAX_NAME_BYTES = 512

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_NAME = re.compile(r"[^\0/\\:][^\0\\:]*")
_DATA_DESCRIPTOR, _UTF8 = 1 << 3, 1 << 11
_DESCRIPTOR_BYTES = (12, 16, 20, 24)
_ZIP64_EXTRA = 0x0001
_IN_ZIP64 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """One record of the archive, as the central directory describes it."""

    name: str
    flags: int
    method: int
    crc: int
    size_bytes: int
    packed_bytes: int
    header_start: int
    next_start: int = 0

    @property
    def where(self) -> str:
        return f"member {quoted(self.name)}"


@dataclass(frozen=True)
class Archive:
    """The members by their name below ROOT; `locate` gives a member's place once its local header has agreed."""

    source: ByteSource
    root: str
    members: dict[str, Member]
    _located: dict[str, int] = field(default_factory=dict, repr=False)

    def check_stored(self) -> None:
        """No member is compressed; HeaderError `pt-zip-compressed` names the first that is."""
        for member in self.members.values():
            if member.method or member.packed_bytes != member.size_bytes:
                raise HeaderError("pt-zip-compressed", "torch.save stores without compression", member.where)

    def locate(self, name: str) -> tuple[int, int]:
        """First byte and length of a member's data; reads its local header once. KeyError if there is none."""
        member = self.members[name]
        if name not in self._located:
            try:
                self._located[name] = _data_start(self.source, member)
            except HeaderError as error:
                raise HeaderError(error.code, error.message, member.where) from error
        return self._located[name], member.size_bytes

    def read_small(self, name: str, most: int) -> bytes:
        """All bytes of a member of at most `most` bytes. Its CRC must fit, unless it is 0: torch can leave it out."""
        start, length = self.locate(name)
        if length > most:
            raise HeaderError(
                "pt-zip-member-large", f"{length} bytes; at most {most} are read", f"member {quoted(name)}"
            )
        data = read_exactly(self.source, start, length, code="pt-truncated", what=f"member {quoted(name)}")
        if (crc := self.members[name].crc) and zlib.crc32(data) != crc:
            raise HeaderError(
                "pt-zip-crc",
                "its bytes do not have the CRC that the archive states",
                f"member {quoted(name)}",
            )
        return data


def open_archive(source: ByteSource) -> Archive:
    """The archive, its directory checked; HeaderError `pt-zip…` for one that torch.save would not write."""
    start, length, count = _find_directory(source)
    data = read_exactly(source, start, length, code="pt-truncated", what="the central directory")
    members = _in_order(_read_directory(data, count), start)
    roots = {member.name.partition("/")[0] for member in members}
    if len(roots) != 1 or any("/" not in member.name for member in members):
        raise HeaderError("pt-zip-root", f"the members lie in {len(roots)} folders; torch.save writes one")
    root = roots.pop()
    return Archive(source, root, {member.name[len(root) + 1 :]: member for member in members})


def _find_directory(source: ByteSource) -> tuple[int, int, int]:
    """Start, length and number of entries of the central directory, from the end records."""
    end_at = source.size_bytes - _END.size
    fields = _unpacked(source, _END, end_at, b"PK\x05\x06", "the end of the archive")
    _, disk, first_disk, here, count, length, start, comment = fields
    if disk or first_disk or here != count or comment:
        raise HeaderError("pt-zip-end", "the archive has a comment, or spans several disks")
    limit = end_at
    locator_at = end_at - _LOCATOR.size
    if locator_at >= 0 and source.read(locator_at, 4) == b"PK\x06\x07":
        _, _, end64_at, _ = _unpacked(source, _LOCATOR, locator_at, b"PK\x06\x07", "the zip64 locator")
        if end64_at + _END64.size != locator_at:
            raise HeaderError(
                "pt-zip-end", "the zip64 end record is not where its locator says, or has extra fields"
            )
        fields64 = _unpacked(source, _END64, end64_at, b"PK\x06\x06", "the zip64 end record")
        *_, here64, count64, length64, start64 = fields64
        for short, long, absent in (
            (count, count64, 0xFFFF),
            (length, length64, _IN_ZIP64),
            (start, start64, _IN_ZIP64),
        ):
            if short not in (long, absent):
                raise HeaderError("pt-zip-end", f"the two end records disagree: {short} and {long}")
        if here64 != count64:
            raise HeaderError("pt-zip-end", "the archive spans several disks")
        count, length, start, limit = count64, length64, start64, end64_at
    if start + length != limit:
        raise HeaderError(
            "pt-zip-end", f"the directory ends at byte {start + length}, the end record begins at {limit}"
        )
    if not 0 < count <= MAX_MEMBERS or not count * _CENTRAL.size <= length <= MAX_DIRECTORY_BYTES:
        raise HeaderError(
            "pt-zip-count", f"{count} members in a directory of {length} bytes; at most {MAX_MEMBERS}"
        )
    return start, length, count


def _read_directory(data: bytes, count: int) -> list[Member]:
    members: list[Member] = []
    seen: set[str] = set()
    position = 0
    for _ in range(count):
        member, position = _read_entry(data, position)
        if member.name in seen:
            raise HeaderError("pt-zip-duplicate", "the name appears twice", member.where)
        seen.add(member.name)
        members.append(member)
    if position != len(data):
        raise HeaderError(
            "pt-zip-directory", f"{len(data) - position} bytes follow the last entry of the directory"
        )
    return members


def _read_entry(data: bytes, position: int) -> tuple[Member, int]:
    name_at = position + _CENTRAL.size
    if name_at > len(data):
        raise HeaderError("pt-zip-directory", "the directory ends inside an entry")
    magic, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, disk, _, _, start = (
        _CENTRAL.unpack_from(data, position)
    )
    end = name_at + n_name + n_extra + n_comment
    if magic != b"PK\x01\x02" or end > len(data) or n_comment or disk or n_name > MAX_NAME_BYTES:
        raise HeaderError(
            "pt-zip-directory", f"the entry at byte {position} of the directory is not one of torch.save"
        )
    name = _name(data[name_at : name_at + n_name])
    where = f"member {quoted(name)}"
    size, packed, start = _from_zip64(data[name_at + n_name : end], size, packed, start, where)
    if flags & ~(_DATA_DESCRIPTOR | _UTF8):
        raise HeaderError("pt-zip-flags", f"flags {flags:#06x}: encrypted, or packed in parts", where)
    return Member(name, flags, method, crc, size, packed, start), end


def _name(data: bytes) -> str:
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError("pt-zip-name", f"the name {quoted(data)} is not UTF-8") from error
    if not _NAME.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise HeaderError("pt-zip-name", f"{quoted(name)} is no plain path inside an archive")
    return name


def _from_zip64(extra: bytes, size: int, packed: int, start: int, where: str) -> tuple[int, int, int]:
    """Sizes and offset, those that do not fit 32 bits from the zip64 extra field; every field must be whole."""
    values: list[int] = []
    position = 0
    while position < len(extra):
        kind, length = struct.unpack_from("<HH", extra.ljust(position + 4, b"\0"), position)
        field_bytes = extra[position + 4 : position + 4 + length]
        if len(field_bytes) != length or (kind == _ZIP64_EXTRA and (values or length % 8)):
            raise HeaderError("pt-zip-directory", "an extra field is cut or there twice", where)
        if kind == _ZIP64_EXTRA:
            values = list(struct.unpack(f"<{length // 8}Q", field_bytes))
        position += 4 + length
    wide = iter(values)
    try:
        size, packed, start = [next(wide) if value == _IN_ZIP64 else value for value in (size, packed, start)]
    except StopIteration as error:
        raise HeaderError(
            "pt-zip-directory", "a size that does not fit 32 bits is nowhere stated", where
        ) from error
    return size, packed, start


def _in_order(members: list[Member], directory_start: int) -> list[Member]:
    """The members by offset, each knowing where the next begins; nothing overlaps and nothing precedes the first."""
    ordered = sorted(members, key=lambda member: member.header_start)
    starts = [member.header_start for member in ordered] + [directory_start]
    if starts[0] != 0:
        raise HeaderError("pt-zip-prefix", f"{starts[0]} bytes lie before the first member")
    placed: list[Member] = []
    for member, (start, following) in zip(ordered, pairwise(starts), strict=True):
        if start + _LOCAL.size + len(member.name.encode()) + member.packed_bytes > following:
            raise HeaderError(
                "pt-zip-overlap",
                f"{member.packed_bytes} bytes from {start} on overlap what begins at {following}",
                member.where,
            )
        placed.append(replace(member, next_start=following))
    return placed


def _data_start(source: ByteSource, member: Member) -> int:
    """First byte of a member's data, its local header having said the same as the directory."""
    name = member.name.encode()
    head = read_exactly(
        source, member.header_start, _LOCAL.size + len(name), code="pt-truncated", what="a local header"
    )
    magic, _, flags, method, _, _, crc, packed, size, n_name, n_extra = _LOCAL.unpack_from(head)
    said = head[_LOCAL.size :]
    if magic != MAGIC or n_name != len(name) or said != name or flags != member.flags or method:
        raise HeaderError("pt-zip-mismatch", "its local header does not agree with the directory")
    if not flags & _DATA_DESCRIPTOR and (
        crc != member.crc or any(told not in (member.size_bytes, _IN_ZIP64) for told in (packed, size))
    ):
        raise HeaderError(
            "pt-zip-mismatch", "sizes or CRC in its local header are not those of the directory"
        )
    start: int = member.header_start + _LOCAL.size + n_name + n_extra
    descriptors = _DESCRIPTOR_BYTES if flags & _DATA_DESCRIPTOR else (0,)
    if member.next_start - start - member.size_bytes not in descriptors:
        raise HeaderError(
            "pt-zip-overlap", f"its data does not end where the next member begins, {member.next_start}"
        )
    return start


def _unpacked(
    source: ByteSource, form: struct.Struct, start: int, magic: bytes, what: str
) -> tuple[int, ...]:
    if start < 0 or start + form.size > source.size_bytes:
        raise HeaderError("pt-zip-end", f"{what} is not there: the file is cut, or no archive")
    fields = form.unpack(read_exactly(source, start, form.size, code="pt-truncated", what=what))
    if fields[0] != magic:
        raise HeaderError("pt-zip-end", f"{what} is not there: the file is cut, or no archive")
    return fields
