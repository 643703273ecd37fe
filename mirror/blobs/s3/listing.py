"""What lies in a bucket, and getting rid of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from mirror.blobs.errors import InvalidKey, StoreRefused
from mirror.blobs.keys import check_key
from mirror.blobs.s3.connection import Connection, named_errors
from mirror.blobs.store import Stat

MAX_DELETES = 1000


def list_objects(connection: Connection, prefix: str) -> Iterator[Stat]:
    """Objects whose keys start so, in key order, a page at a time; names that no store of ours gave are skipped."""
    pages = connection.client.get_paginator("list_objects_v2").paginate(
        Bucket=connection.bucket, Prefix=connection.full_key(prefix)
    )
    with named_errors(prefix or connection.bucket):
        for page in pages:
            for entry in page.get("Contents", []):
                key = connection.key_of(entry["Key"])
                if _is_ours(key):
                    yield Stat(key, entry["Size"], entry["LastModified"].astimezone(UTC))


def delete_all(connection: Connection, prefix: str) -> None:
    """No key starts so any more."""
    keys = (connection.full_key(stat.key) for stat in list_objects(connection, prefix))
    while batch := list(islice(keys, MAX_DELETES)):
        with named_errors(prefix):
            answer = connection.client.delete_objects(
                Bucket=connection.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
        for error in answer.get("Errors", []):
            raise StoreRefused(
                f"{error.get('Key', prefix)}: could not be deleted ({error.get('Message', error.get('Code'))}). "
                "Let the credentials delete objects."
            )


def unfinished_uploads(connection: Connection, before: datetime) -> Iterator[tuple[Stat, str]]:
    """Multipart uploads begun before then and never completed: their target, and the id to abort them by."""
    pages = connection.client.get_paginator("list_multipart_uploads").paginate(
        Bucket=connection.bucket, Prefix=connection.settings.prefix
    )
    with named_errors(connection.bucket):
        for page in pages:
            for upload in page.get("Uploads", []):
                key, begun_at = connection.key_of(upload["Key"]), upload["Initiated"].astimezone(UTC)
                if _is_ours(key) and begun_at < before:
                    yield Stat(key, 0, begun_at), upload["UploadId"]


def _is_ours(key: str) -> bool:
    try:
        return bool(check_key(key))
    except InvalidKey:
        return False
