"""A file whose bytes only upstream has, at the door: who waits for it, who is told to come back."""

from datetime import timedelta

from django.utils import timezone

from mirror.hub.errors import HubError, upstream_trouble
from mirror.hub.ranges import ByteRange
from mirror.store import blob_store
from mirror.through.asking import BUSY_SECONDS, UpstreamTrouble, trouble_of
from mirror.through.fetches import DOUBT_SECONDS, was_doubtful
from mirror.through.following import Failed, Following, NotAllowed, ask_for
from mirror.through.running import TooManyWait
from registry.models import Blob, File, Job


def follow(file: File, part: ByteRange | None) -> Following | Blob:
    """What to send of the file, or of that part: the bytes as they arrive, or the blob if they came at once.

    Raises the answer when the bytes cannot be had now, or too many wait already.
    """
    start, end = (part.start, part.start + part.length) if part else (0, file.size_bytes)
    try:
        job = ask_for(file)
        return _begun(_follow(file, job, start, end))
    except Failed as failed:
        raise _trouble(file, trouble_of(failed.job)) from failed
    except NotAllowed:
        raise _only_upstream(file) from None


def _follow(file: File, job: Job, start: int, end: int) -> Following:
    try:
        return Following(blob_store(), file, job, start, end)
    except TooManyWait:
        message = f"Too many requests wait for files from upstream; {file.path} is on its way. Ask again in a moment."
        raise _trouble(file, UpstreamTrouble("busy", message, BUSY_SECONDS)) from None


def _begun(body: Following) -> Following | Blob:
    try:
        blob = body.wait_for_first()
    except BaseException:
        body.close()
        raise
    if blob:
        body.close()
    return blob or body


def is_doubtful(file: File, part: ByteRange) -> bool:
    """Whether the rest of a file may not be given, because wrong bytes came for it in the last hour.

    Who asks for the rest has the beginning, perhaps of those: put together, two different files would have the right
    size. It gets the whole file instead, which every client takes for a new beginning. A query where bytes are new.
    """
    if part.start == 0 or file.commit.repo.upstream_id is None:
        return False
    is_new = file.blob is None or timezone.now() - file.blob.stored_at < timedelta(seconds=DOUBT_SECONDS)
    return is_new and was_doubtful(file.commit.repo, file.etag)


def _trouble(file: File, trouble: UpstreamTrouble) -> HubError:
    return upstream_trouble(trouble, file.commit.commit_hash)


def _only_upstream(file: File) -> HubError:
    commit, repo = file.commit, file.commit.repo
    message = (
        f"Only upstream has {file.path} of {repo.repo_id}@{commit.commit_hash[:12]} yet, and nothing may be taken from "
        "there now: pull-through is switched off, or the repo is held for review. Its operator can `mirror` it."
    )
    return HubError(503, message, code="BytesUnavailable", X_Repo_Commit=commit.commit_hash)
