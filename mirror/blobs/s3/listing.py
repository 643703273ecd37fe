"""What lies in a bucket, and getting rid of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from botocore.exceptions import ClientError

from mirror.blobs.errors import InvalidKey, StoreRefused
from mirror.blobs.keys import check_key
from mirror.blobs.s3.connection import Connection, named_errors, status_of
from mirror.blobs.store import Stat

MAX_DELETES = 1000
NO_BATCHES = {400, 405, 501}
"""How services answer a batch delete that they do not know, or want a checksum for that is out of fashion."""


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
    keys = (stat.key for stat in list_objects(connection, prefix))
    while batch := list(islice(keys, MAX_DELETES)):
        with named_errors(prefix):
            try:
                _delete_together(connection, batch)
            except ClientError as error:
                if status_of(error) not in NO_BATCHES:
                    raise
                for key in batch:
                    connection.client.delete_object(**connection.place(key))


def _delete_together(connection: Connection, keys: list[str]) -> None:
    answer = connection.client.delete_objects(
        Bucket=connection.bucket,
        Delete={"Objects": [{"Key": connection.full_key(key)} for key in keys], "Quiet": True},
    )
    for error in answer.get("Errors", []):
        why = error.get("Message", error.get("Code"))
        raise StoreRefused(
            f"{error.get('Key')}: could not be deleted ({why}). Let the credentials delete objects."
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
