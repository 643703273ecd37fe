"""Clients of one bucket, and what the service's errors mean.

Clients are made on first use and once per process: a connection pool that crossed a fork would mix answers. Stores that
differ in nothing but their prefix share one, because making one takes a third of a second.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection
from urllib3.exceptions import HTTPError

from mirror.blobs.errors import OutOfSpace, StoreError, StoreRefused, StoreUnavailable
from mirror.blobs.s3.settings import S3Settings, region_or_default

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_CONNECTIONS = 32
MISSING = {"NoSuchKey", "NotFound", "404"}
TAKEN = {"PreconditionFailed", "412"}
RACED = {"ConditionalRequestConflict", "OperationAborted", "409"}
GONE_UPLOAD = {"NoSuchUpload"}
BAD_RANGE = {"InvalidRange", "416"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"}
_TEMPORARY = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling"}


class Place(TypedDict):
    """Where an object lies, as every request spells it."""

    Bucket: str
    Key: str


class Connection:
    """The bucket, as seen by this process."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.bucket = settings.bucket

    def __getstate__(self) -> S3Settings:
        return self.settings

    def __setstate__(self, settings: S3Settings) -> None:
        self.__init__(settings)  # type: ignore[misc]  # a copy in another process starts with no clients

    @property
    def client(self) -> "S3Client":
        """For requests from here."""
        return _client(self.settings, self.settings.endpoint)

    @property
    def public_client(self) -> "S3Client":
        """For signing URLs that others will use; sends nothing."""
        return _client(self.settings, self.settings.public or self.settings.endpoint)

    def full_key(self, key: str) -> str:
        """The key with the store's own prefix, as the bucket knows it."""
        return self.settings.prefix + key

    def place(self, key: str) -> Place:
        """Bucket and full key of the object."""
        return {"Bucket": self.bucket, "Key": self.full_key(key)}

    def key_of(self, full_key: str) -> str:
        """The key without the store's prefix."""
        return full_key.removeprefix(self.settings.prefix)


_clients: "dict[tuple[int, S3Settings, str | None], S3Client]" = {}
_making = threading.Lock()


def _client(settings: S3Settings, endpoint: str | None) -> "S3Client":
    place = (os.getpid(), replace(settings, prefix=""), endpoint)
    with _making:
        if place not in _clients:
            _clients[place] = make_client(settings, endpoint)
        return _clients[place]


def make_client(settings: S3Settings, endpoint: str | None) -> "S3Client":
    """A boto3 client with our time limits; checksums are ours, not the library's CRC32 on top of them."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=settings.connect_seconds,
        read_timeout=settings.read_seconds,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        s3={"addressing_style": "path" if settings.addressing == "path" else "virtual"},
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=MAX_CONNECTIONS,
    )
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id, aws_secret_access_key=settings.secret_access_key
    )
    client: S3Client = session.client(
        "s3", endpoint_url=endpoint, region_name=region_or_default(settings), config=config
    )
    return client


def code_of(error: ClientError) -> str:
    """The service's own word for what went wrong; HEAD has no body, so there it is the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def named_errors(where: str) -> Iterator[None]:
    """Whatever the client raises leaves as a StoreError that names the object; ours pass as they are."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(where, error) from error
    except (NoConnection, HTTPClientError, IncompleteReadError, HTTPError) as error:
        raise StoreUnavailable(
            f"{where}: the object store did not answer ({error}). It was tried several times; see whether the "
            "endpoint is up, then run the job again: it continues where it stopped."
        ) from error
    except BotoCoreError as error:
        raise StoreRefused(
            f"{where}: {error}. Check the endpoint and the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), "
            "then run `check_storage`."
        ) from error


def _of_answer(where: str, error: ClientError) -> StoreError:
    code, status = code_of(error), status_of(error)
    said = f"{code}: {error.response.get('Error', {}).get('Message', 'no message')}".rstrip(". ")
    if code in _FULL or status == 507:
        return OutOfSpace(where, said)
    if status >= 500 or status == 429 or code in _TEMPORARY or code in RACED:
        return StoreUnavailable(
            f"{where}: the object store answered {status} {said}, again and again. Run the job again later."
        )
    return StoreRefused(
        f"{where}: the object store refused ({status} {said}). Check bucket, credentials and permissions; "
        "`check_storage` tells what is missing."
    )
