"""The sweeper deletes what nobody needs, and nothing else."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from mirror.blobs import BlobStore
from mirror.blobs.store import blob_key
from mirror.fixity import audit
from mirror.store import blob_store
from mirror.sweep import sweep_store
from mirror.uploads.objects import keep
from registry.models import Blob, Commit, Event, Job, Upload
from registry.work import submit
from tests.mirror.mirrored import blob_of, mirror_from, overwrite
from tests.services.deployment import Deployment
from tests.services.hub import Hub

pytestmark = pytest.mark.django_db(transaction=True)
ORPHAN = b"nobody needs me"
ORPHAN_KEY = blob_key(hashlib.sha256(ORPHAN).hexdigest())


@pytest.fixture
def commit() -> Iterator[Commit]:
    with Hub() as hub:
        made = mirror_from(hub)
        Job.objects.filter(kind="inspect").delete()
        yield made


@pytest.fixture
def store(commit: Commit) -> BlobStore:
    return blob_store()


def in_days(days: float) -> datetime:
    return timezone.now() + timedelta(days=days)


def test_young_leftovers_stay(store: BlobStore) -> None:
    store.put(ORPHAN_KEY, ORPHAN)
    with store.stage("left") as staged:
        staged.write(bytes(9 << 20))
        staged.checkpoint()
    swept = sweep_store(store, now=in_days(6))
    assert (swept.staged, swept.blobs) == ([], [])
    assert store.read(ORPHAN_KEY) == ORPHAN


def test_old_leftovers_go_and_what_is_needed_stays(store: BlobStore) -> None:
    store.put(ORPHAN_KEY, ORPHAN)
    unused = Blob.objects.create(sha256=ORPHAN_KEY[-64:], size_bytes=len(ORPHAN), store=store.name)
    with store.stage("left") as staged:
        staged.write(bytes(9 << 20))
        staged.checkpoint()
    swept = sweep_store(store, now=in_days(8))
    assert [stat.key for stat in swept.staged] == ["incoming/left"]
    assert [stat.key for stat in swept.blobs] == [ORPHAN_KEY]
    assert not Blob.objects.filter(pk=unused.pk).exists()
    assert Event.objects.get(type="deletion").detail == {
        "sha256": ORPHAN_KEY[-64:],
        "size_bytes": len(ORPHAN),
    }
    report = audit(store)
    assert report.findings == []
    assert report.n_blobs == 4
    assert sweep_store(store, now=in_days(8)).blobs == []


def test_a_dry_run_deletes_nothing(store: BlobStore) -> None:
    store.put(ORPHAN_KEY, ORPHAN)
    swept = sweep_store(store, now=in_days(8), dry_run=True)
    assert [stat.key for stat in swept.blobs] == [ORPHAN_KEY]
    assert store.read(ORPHAN_KEY) == ORPHAN


def test_a_blob_that_a_manifest_names_is_kept_though_every_row_is_gone(
    store: BlobStore, commit: Commit
) -> None:
    """Promise: losing the database never loses bytes."""
    weights = blob_of(commit, "model.safetensors")
    commit.repo.refs.all().delete()
    commit.repo.delete()
    Blob.objects.all().delete()
    swept = sweep_store(store, now=in_days(8))
    assert swept.blobs == []
    assert weights.sha256 in swept.kept_by_manifest
    assert len(swept.kept_by_manifest) == 4
    assert store.stat(blob_key(weights.sha256))


def test_an_unreadable_manifest_spares_everything(store: BlobStore, commit: Commit) -> None:
    store.put(ORPHAN_KEY, ORPHAN)
    overwrite(store, commit.manifest_key, b"{")
    assert sweep_store(store, now=in_days(8)).blobs == []
    assert store.read(ORPHAN_KEY) == ORPHAN


@pytest.mark.parametrize("kind", ["mirror", "convert", "validate"])
def test_no_blob_goes_while_a_job_moves_bytes(store: BlobStore, kind: str) -> None:
    store.put(ORPHAN_KEY, ORPHAN)
    submit(kind, key="k", label="busy", params={})
    swept = sweep_store(store, now=in_days(8))
    assert (swept.blobs, swept.waits_for_jobs) == ([], True)
    assert store.read(ORPHAN_KEY) == ORPHAN


def test_the_command_says_what_it_did(deployment: Deployment) -> None:
    assert "deleted 0 staged leftovers and 0 blobs" in deployment.manage("sweep").stdout
    assert "would delete" in deployment.manage("sweep", "--dry-run", "--days", "0").stdout
    assert deployment.manage_json("sweep")["blobs"] == []


def test_uploads_that_no_commit_named_are_forgotten_and_their_bytes_go(
    store: BlobStore, commit: Commit
) -> None:
    data = b"brought, and never named"
    sha256 = hashlib.sha256(data).hexdigest()
    upload = Upload.objects.create(repo=commit.repo, sha256=sha256, size_bytes=len(data))
    with store.stage("upload") as staged:
        staged.write(data)
        keep(store, upload, staged)
    sweep_store(store)
    assert store.stat(blob_key(sha256))
    swept = sweep_store(store, now=in_days(8))
    assert (swept.n_uploads, store.stat(blob_key(sha256)), Upload.objects.exists()) == (1, None, False)
