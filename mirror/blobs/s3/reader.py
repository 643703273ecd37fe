"""A byte range of one object as a stream that survives broken connections."""

import io
import time
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from mirror.blobs.errors import KeyMissing, RangeError, StoreUnavailable
from mirror.blobs.s3.connection import BAD_RANGE, MISSING, Connection, code_of, named_errors

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

MAX_BREAKS = 5
FIRST_PAUSE_SECONDS = 0.2


class RangeStream(io.RawIOBase):
    """Bytes [start, start + length) of the object. A connection that breaks is replaced by a request for the rest,
    with If-Match, so that the bytes are those of one object even if somebody replaced it meanwhile."""

    def __init__(self, connection: Connection, key: str, start: int, length: int | None) -> None:
        self._connection, self._key = connection, key
        self._position = start
        answer = self._request(start, None if length is None else start + length, etag=None)
        self._body, self._etag = answer["Body"], answer["ETag"]
        self._end = start + answer["ContentLength"]
        size_bytes = _total_bytes(answer)
        if length is not None and start + length > size_bytes:
            self.close()
            raise RangeError(key, start, length, size_bytes)

    @property
    def etag(self) -> str:
        """Of the object that is read."""
        return self._etag

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._next(self._end - self._position), b""))

    def close(self) -> None:
        if not self.closed and hasattr(self, "_body"):
            self._body.close()
        super().close()

    def _next(self, limit: int) -> bytes:
        wanted = min(limit, self._end - self._position)
        data = self._read(wanted) if wanted else b""
        self._position += len(data)
        return data

    def _read(self, wanted: int) -> bytes:
        reason: Exception | None = None
        for n_breaks in range(MAX_BREAKS):
            try:
                if reason:
                    self._reconnect(n_breaks)
                if data := self._body.read(wanted):
                    return data
                reason = EOFError("the connection ended early")
            except (BotoCoreError, HTTPError, OSError) as error:
                reason = error
        raise StoreUnavailable(
            f"{self._key}: reading broke off {MAX_BREAKS} times at byte {self._position} ({reason}). "
            "Run the job again later."
        ) from reason

    def _reconnect(self, n_breaks: int) -> None:
        self._body.close()
        time.sleep(FIRST_PAUSE_SECONDS * 2 ** (n_breaks - 1))
        self._body = self._request(self._position, self._end, self._etag)["Body"]

    def _request(self, start: int, end: int | None, etag: str | None) -> "GetObjectOutputTypeDef":
        get = self._connection.client.get_object
        place = {"Bucket": self._connection.bucket, "Key": self._connection.full_key(self._key)}
        if start or end is not None:
            place["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if etag:
            place["IfMatch"] = etag
        with named_errors(self._key):
            try:
                return get(**place)  # type: ignore[arg-type]  # a dict of keywords, all of them strings
            except ClientError as error:
                if code_of(error) in MISSING:
                    raise KeyMissing(self._key) from None
                if code_of(error) in BAD_RANGE:
                    raise OutsideObject(self._key) from None
                raise


class OutsideObject(Exception):
    """The range starts at or behind the end of the object; the caller asks for the size and decides."""


def _total_bytes(answer: "GetObjectOutputTypeDef") -> int:
    """The size of the whole object, of which the answer may be a part."""
    content_range = answer.get("ContentRange", "")
    return int(content_range.rpartition("/")[2]) if content_range else answer["ContentLength"]
