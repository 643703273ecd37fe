"""What an S3-compatible service can and cannot do, where the blob store leans on it."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import ClientError

from mirror.blobs.probe import Bench, Check, Lacking, expect
from mirror.blobs.s3.assembly import Piece, assemble, base64_of
from mirror.blobs.s3.bucket import S3Store
from mirror.blobs.s3.connection import Connection, named_errors, status_of
from mirror.blobs.s3.listing import delete_all, unfinished_uploads
from mirror.blobs.store import StoreError, StoreRefused

MIB = 1 << 20
WRONG_SHA256 = "00" * 32
MAX_SKEW_SECONDS = 300


def _connection(bench: Bench) -> Connection:
    assert isinstance(bench.store, S3Store)  # noqa: S101  # chosen by the store's own name
    return bench.store.connection


def _must_refuse(what: str, act: Callable[[], object]) -> str:
    """The service refuses to do it; what it said."""
    try:
        act()
    except ClientError as error:
        expect(400 <= status_of(error) < 500, f"{what}: the answer was {status_of(error)}")
        return f"refused with {status_of(error)}"
    raise Lacking(f"{what}: accepted")


def _wrong_checksum(bench: Bench) -> str:
    connection, place = _connection(bench), _connection(bench).place(bench.key("wrong-checksum"))
    return _must_refuse(
        "bytes with another sha256 than announced",
        lambda: connection.client.put_object(**place, Body=b"x", ChecksumSHA256=base64_of(WRONG_SHA256)),
    )


def _checksum_told(bench: Bench) -> str:
    connection, key = _connection(bench), bench.key("checksum")
    bench.store.put(key, b"x")
    with named_errors(key):
        head = connection.client.head_object(**connection.place(key), ChecksumMode="ENABLED")
    expect("ChecksumSHA256" in head, "HEAD does not tell the sha256 that was stored")
    return "stored, and told by HEAD"


def _conditional_completion(bench: Bench) -> str:
    source, target = bench.key("part"), bench.key("completed")
    bench.store.put(source, b"x")
    connection = _connection(bench)
    expect(assemble(connection, [Piece(source)], target), "a free name was reported as taken")
    expect(not assemble(connection, [Piece(source)], target), "a second completion overwrote the first")
    return "the second completion was refused"


def _part_copy(bench: Bench) -> str:
    data = os.urandom(6 * MIB)
    source, target = bench.key("source"), bench.key("parts")
    bench.store.put(source, data)
    pieces = [Piece(source, 0, 5 * MIB), Piece(source, 5 * MIB, MIB)]
    assemble(_connection(bench), pieces, target)
    expect(bench.store.read(target) == data, "an object made of copied ranges has other bytes")
    return "two ranges of one object became another"


def _part_checksum(bench: Bench) -> str:
    connection, source = _connection(bench), bench.key("summed")
    bench.store.put(source, b"x")
    wanted = connection.place(source)
    place = connection.place(bench.key("summed-copy"))
    with named_errors(source):
        upload = connection.client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
        answer = connection.client.upload_part_copy(
            **place,
            UploadId=upload,
            PartNumber=1,
            CopySource={"Bucket": wanted["Bucket"], "Key": wanted["Key"]},
        )
        connection.client.abort_multipart_upload(**place, UploadId=upload)
    expect("ChecksumSHA256" in answer["CopyPartResult"], "the sha256 of a copied part is not told")
    return "told for every copied part"


def _unfinished_uploads(bench: Bench) -> str:
    connection, key = _connection(bench), bench.key("unfinished")
    with named_errors(key):
        upload = connection.client.create_multipart_upload(**connection.place(key))["UploadId"]
        soon = datetime.now(UTC) + timedelta(days=1)
        seen = [stat.key for stat, _ in unfinished_uploads(connection, soon)]
        connection.client.abort_multipart_upload(**connection.place(key), UploadId=upload)
    expect(key in seen, "an unfinished upload is not listed")
    return "listed and aborted"


def _batch_delete(bench: Bench) -> str:
    prefix = f"{bench.prefix}batch-"
    for number in range(3):
        bench.store.put(bench.key(f"batch-{number}"), b"x")
    delete_all(_connection(bench), prefix)
    left = len(list(bench.store.list(prefix)))
    expect(left == 0, f"{left} of 3 objects are left")
    return "3 objects in one request"


def _wrong_secret(bench: Bench) -> str:
    connection = _connection(bench)
    stranger = S3Store(replace(connection.settings, access_key_id="nobody", secret_access_key="wrong"))  # noqa: S106
    try:
        stranger.read(bench.key("secret"))
    except StoreRefused:
        return "refused"
    except StoreError as error:
        raise Lacking(f"answered a stranger: {error}") from error
    raise Lacking("a stranger could read")


def _is_private(bench: Bench) -> str:
    key = bench.key("private")
    bench.store.put(key, b"x")
    status = _get(_signed(bench, key).partition("?")[0]).status
    expect(status in {401, 403}, f"a request without a signature was answered with {status}")
    return f"unsigned requests get {status}"


def _signed(bench: Bench, key: str, seconds: int = 60, filename: str | None = None) -> str:
    url = bench.store.presign(key, seconds=seconds, filename=filename)
    assert url is not None  # noqa: S101  # a bucket always has URLs
    return url


def _get(url: str, **headers: str) -> urllib3.BaseHTTPResponse:
    host = urlsplit(url).netloc
    try:
        return urllib3.request(
            "GET", url, headers=headers, timeout=urllib3.Timeout(connect=10, read=60), redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise Lacking(f"{host} cannot be reached from here: {error}") from error


def _presigned_get(bench: Bench) -> str:
    key = bench.key("presigned")
    bench.store.put(key, b"0123456789")
    answer = _get(_signed(bench, key))
    expect((answer.status, answer.data) == (200, b"0123456789"), f"the answer was {answer.status}")
    return f"from {urlsplit(_signed(bench, key)).netloc}"


def _presigned_range(bench: Bench) -> str:
    key = bench.key("presigned-range")
    bench.store.put(key, b"0123456789")
    for wanted, expected in (("bytes=2-4", b"234"), ("bytes=-3", b"789"), ("bytes=8-", b"89")):
        answer = _get(_signed(bench, key), Range=wanted)
        expect((answer.status, answer.data) == (206, expected), f"{wanted} was answered with {answer.status}")
    return "first, middle and last bytes"


def _presigned_name(bench: Bench) -> str:
    key = bench.key("presigned-name")
    bench.store.put(key, b"x")
    said = _get(_signed(bench, key, filename="model.gguf")).headers.get("Content-Disposition", "")
    expect("model.gguf" in said, f"Content-Disposition is {said!r}")
    return "the download has the file's name"


def _presigned_expiry(bench: Bench) -> str:
    key = bench.key("presigned-expiry")
    bench.store.put(key, b"x")
    url = _signed(bench, key, seconds=1)
    time.sleep(2.5)
    status = _get(url).status
    expect(status in {400, 401, 403}, f"an expired URL was answered with {status}")
    return f"refused with {status}"


def _presigned_tampering(bench: Bench) -> str:
    key, other = bench.key("tamper-a"), bench.key("tamper-b")
    for each in (key, other):
        bench.store.put(each, b"x")
    status = _get(_signed(bench, key).replace("tamper-a", "tamper-b")).status
    expect(status in {400, 401, 403}, f"a URL for another object was answered with {status}")
    return f"refused with {status}"


def _clock(bench: Bench) -> str:
    key = bench.key("clock")
    bench.store.put(key, b"x")
    said = _get(_signed(bench, key)).headers.get("Date")
    if not said:
        return "the service does not tell its time"
    skew = abs((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    expect(skew < MAX_SKEW_SECONDS, f"the service's clock is {skew:.0f} s away from ours")
    return f"{skew:.0f} s apart"


_REDIRECTS = "Downloads cannot be redirected to the bucket; they go through the web process."
_INLINE = "Set HOLDFAST_BLOB_DELIVERY=inline, or use another service."
CHECKS = [
    Check(
        "wrong checksum is refused",
        _wrong_checksum,
        "Bytes damaged on the way to the bucket would be kept.",
        "Use a service that checks x-amz-checksum-sha256; gateways and mocks often do not.",
    ),
    Check(
        "checksums are kept",
        _checksum_told,
        "Damage can only be found by reading everything.",
        "Nothing to do: `audit` reads everything anyway.",
        is_needed=False,
    ),
    Check(
        "conditional completion",
        _conditional_completion,
        "A large blob could be overwritten (by the same bytes).",
        "Use a service that honours If-None-Match on CompleteMultipartUpload.",
    ),
    Check(
        "server-side part copy",
        _part_copy,
        "Files larger than one part cannot be promoted.",
        "Use a service with UploadPartCopy (Google's XML API has none).",
    ),
    Check(
        "checksums of copied parts",
        _part_checksum,
        "A mistake of the service while copying is found by the next audit only.",
        "Run `audit` after mirroring.",
        is_needed=False,
    ),
    Check(
        "unfinished uploads are listed",
        _unfinished_uploads,
        "What an interrupted promotion leaves behind takes space for ever.",
        "Set a lifecycle rule that aborts incomplete uploads after two days.",
        is_needed=False,
    ),
    Check(
        "batch delete", _batch_delete, "Staged parts are not removed.", "Let the credentials delete objects."
    ),
    Check(
        "wrong credentials are refused",
        _wrong_secret,
        "Anybody can read and write the archive.",
        "Turn on authentication in the service.",
    ),
    Check(
        "unsigned requests are refused",
        _is_private,
        "Private repos can be read by anybody who knows a digest.",
        "Make the bucket private.",
        is_needed=False,
    ),
    Check(
        "presigned GET", _presigned_get, _REDIRECTS, f"Set public= in the URL, or: {_INLINE}", is_needed=False
    ),
    Check("presigned GET of ranges", _presigned_range, _REDIRECTS, _INLINE, is_needed=False),
    Check("presigned file name", _presigned_name, "Downloads are named by digest.", _INLINE, is_needed=False),
    Check("expired URLs are refused", _presigned_expiry, "A leaked URL works for ever.", _INLINE),
    Check("altered URLs are refused", _presigned_tampering, "One URL opens every object.", _INLINE),
    Check(
        "clocks agree",
        _clock,
        "Signatures are refused once the difference passes 15 minutes.",
        "Run NTP on both sides.",
        is_needed=False,
    ),
]
