"""One object made of others by server-side copies, visible at once and only if the name is free."""

import base64
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from mirror.blobs.errors import DigestMismatch, KeyMissing, StoreError, StoreUnavailable
from mirror.blobs.keys import is_staged
from mirror.blobs.s3.connection import (
    GONE_UPLOAD,
    MISSING,
    RACED,
    TAKEN,
    Connection,
    Place,
    code_of,
    named_errors,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

N_COPIERS = 4
MAX_RACES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one object that become the next part of another. `sha256` (hex) if it is known.

    With `etag` only the object that had it is copied: another one may have been put in its place.
    """

    key: str
    start: int | None = None
    length: int | None = None
    sha256: str | None = None
    etag: str | None = None


def assemble(connection: Connection, pieces: Sequence[Piece], target: str) -> bool:
    """The target is the pieces in order, put-if-absent; False if it was taken. Nothing half is ever visible.

    Where the service tells the checksum of a copied part it must be the piece's own, so the digest of each part is
    carried from our memory into the final object.
    """
    for _ in range(MAX_RACES):
        with named_errors(target):
            outcome = _try_to_assemble(connection, pieces, target)
        if outcome is not None:
            return outcome
    raise StoreUnavailable(f"{target}: other writers were in the way {MAX_RACES} times. Run the job again.")


def _try_to_assemble(connection: Connection, pieces: Sequence[Piece], target: str) -> bool | None:
    """True if we made it, False if it was taken, None if a race asks for another try."""
    client, place = connection.client, connection.place(target)
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        with ThreadPoolExecutor(N_COPIERS, "blob-copy") as pool:
            numbered = enumerate(pieces, start=1)
            parts = list(pool.map(lambda item: _copy_part(connection, place, upload, *item), numbered))
        client.complete_multipart_upload(
            **place, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
        )
    except (ClientError, StoreError) as error:
        with contextlib.suppress(ClientError):
            client.abort_multipart_upload(**place, UploadId=upload)
        return _meaning(error)
    return True


def _meaning(error: ClientError | StoreError) -> bool | None:
    """False if the name was taken, None if a race asks for another try; any other error is raised.

    An upload that is gone was completed by a request of ours whose answer was lost: the caller compares sizes.
    """
    code = code_of(error) if isinstance(error, ClientError) else error.code
    if code in TAKEN | GONE_UPLOAD:
        return False
    if code in RACED:
        return None
    raise error


def _copy_part(
    connection: Connection, place: Place, upload: str, number: int, piece: Piece
) -> "CompletedPartTypeDef":
    wanted: dict[str, Any] = {
        "CopySource": {"Bucket": place["Bucket"], "Key": connection.full_key(piece.key)}
    }
    if piece.start is not None and piece.length is not None:
        wanted["CopySourceRange"] = f"bytes={piece.start}-{piece.start + piece.length - 1}"
    if piece.etag is not None:
        wanted["CopySourceIfMatch"] = piece.etag
    try:
        answer = connection.client.upload_part_copy(**place, UploadId=upload, PartNumber=number, **wanted)
    except ClientError as error:
        if code_of(error) in MISSING:
            raise _gone(piece.key) from None
        if piece.etag is not None and code_of(error) in TAKEN:
            raise _replaced(piece.key) from None
        raise
    result = answer["CopyPartResult"]
    part: CompletedPartTypeDef = {"PartNumber": number, "ETag": result["ETag"]}
    if checksum := result.get("ChecksumSHA256"):
        part["ChecksumSHA256"] = checksum
        if piece.sha256 and checksum != base64_of(piece.sha256):
            raise DigestMismatch(piece.key, piece.sha256, base64.b64decode(checksum).hex())
    return part


def _replaced(key: str) -> StoreError:
    return StoreError(f"{key} was replaced after it was hashed. Send it again.", code="staged-changed")


def _gone(key: str) -> StoreError:
    if not is_staged(key):
        return KeyMissing(key)
    return StoreError(
        f"{key} is gone: another writer of the same file ended meanwhile, or the sweeper came. Run the job again.",
        code="staged-lost",
        retryable=True,
    )


def base64_of(sha256: str) -> str:
    """The digest as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()
