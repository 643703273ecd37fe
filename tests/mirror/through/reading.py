"""Reading answers, whole and broken off, and what is left of a fetch that failed."""

from typing import Any

import pytest

from mirror.store import blob_store
from mirror.through.following import BrokenOff
from registry.models import Blob, Job

PATH = "/org/model/resolve/main/model.safetensors"
BIG = bytes(range(251)) * 12_000


def body(answer: Any) -> bytes:
    """All of an answer's bytes; what is open is closed."""
    try:
        return b"".join(answer.streaming_content) if answer.streaming else answer.content
    finally:
        answer.close()


def broken_body(answer: Any) -> bytes:
    """What came before the body broke off, as it must."""
    got: list[bytes] = []
    with pytest.raises(BrokenOff):
        got.extend(answer.streaming_content)
    answer.close()
    return b"".join(got)


def nothing_is_stored() -> bool:
    return not Blob.objects.exists() and list(blob_store().list("blobs/")) == []


def fetch_job() -> Job:
    return Job.objects.filter(kind="fetch").latest("pk")


def forget_failure() -> None:
    """As if the time were over for which a failure is remembered."""
    Job.objects.filter(kind="fetch", state="failed").update(finished_at="2020-01-01T00:00:00Z")
