"""The audit finds every lost, wrong or stray byte, believes nothing it has not seen twice, and repairs what it can."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from mirror.blobs import BlobStore
from mirror.blobs.store import blob_key
from mirror.fixity import Report, audit
from mirror.store import blob_store
from registry.models import Blob, Commit, Event
from tests.mirror.mirrored import WEIGHTS, blob_of, mirror_from, overwrite
from tests.services.deployment import Deployment
from tests.services.hub import Hub

pytestmark = pytest.mark.django_db(transaction=True)
FLIPPED = WEIGHTS[:5000] + b"\xff" + WEIGHTS[5001:]
GONE = hashlib.sha256(b"nobody knows me").hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def commit(hub: Hub) -> Commit:
    return mirror_from(hub)


@pytest.fixture
def store(commit: Commit) -> BlobStore:
    return blob_store()


@pytest.fixture
def weights(commit: Commit) -> Blob:
    return blob_of(commit, "model.safetensors")


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def test_an_undisturbed_archive_is_clean_and_every_blob_is_verified(store: BlobStore) -> None:
    Blob.objects.update(verified_at=None)
    before = timezone.now()
    report = audit(store)
    assert report.is_clean
    assert report.findings == []
    assert (report.n_blobs, report.n_hashed, report.n_commits) == (4, 4, 1)
    assert report.bytes_hashed == sum(Blob.objects.values_list("size_bytes", flat=True))
    assert all(at >= before for at in Blob.objects.values_list("verified_at", flat=True))
    event = Event.objects.get(type="fixity check")
    assert (event.outcome, event.detail["n_blobs"]) == ("success", 4)


def test_a_flipped_bit_is_found_recorded_and_named(store: BlobStore, weights: Blob) -> None:
    overwrite(store, blob_key(weights.sha256), FLIPPED)
    report = audit(store)
    assert codes(report) == ["blob-damaged"]
    assert not report.is_clean
    assert report.findings[0].key == blob_key(weights.sha256)
    assert hashlib.sha256(FLIPPED).hexdigest() in report.findings[0].message
    weights.refresh_from_db()
    assert weights.state == "damaged"
    assert Event.objects.filter(type="fixity check", blob=weights, outcome="failure").count() == 1


def test_a_quick_audit_sees_sizes_but_not_bits(store: BlobStore, weights: Blob) -> None:
    overwrite(store, blob_key(weights.sha256), FLIPPED)
    verified_at = Blob.objects.get(pk=weights.pk).verified_at
    assert audit(store, quick=True).is_clean
    overwrite(store, blob_key(weights.sha256), FLIPPED[:-1])
    report = audit(store, quick=True)
    assert (codes(report), report.n_hashed) == (["blob-damaged"], 0)
    assert Blob.objects.get(pk=weights.pk).verified_at == verified_at


def test_a_quick_audit_does_not_forget_what_is_known_to_be_damaged(store: BlobStore, weights: Blob) -> None:
    overwrite(store, blob_key(weights.sha256), FLIPPED)
    audit(store)
    assert codes(audit(store, quick=True)) == ["blob-damaged"]
    assert audit(store, quick=True, repair=True).is_clean
    assert audit(store).findings == []


def test_a_lost_object_is_missing_and_found_again_when_it_is_back(store: BlobStore, weights: Blob) -> None:
    store.delete(blob_key(weights.sha256))
    assert codes(audit(store)) == ["blob-missing"]
    assert Blob.objects.get(pk=weights.pk).state == "missing"
    store.put(blob_key(weights.sha256), WEIGHTS)
    assert audit(store).is_clean
    assert Blob.objects.get(pk=weights.pk).state == "present"


def test_every_one_of_many_flips_and_deletions_is_found(store: BlobStore) -> None:
    """R22 and R23: a thousand found of a thousand; here every object of the store, in turn by kind."""
    harmed = {}
    for number in range(60):
        data = b"blob %d" % number
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(blob_key(sha256), data)
        Blob.objects.create(sha256=sha256, size_bytes=len(data), store=store.name)
        if number % 2:
            overwrite(store, blob_key(sha256), b"BLOB %d" % number)
        else:
            store.delete(blob_key(sha256))
        harmed[blob_key(sha256)] = "blob-damaged" if number % 2 else "blob-missing"
    found = {finding.key: finding.code for finding in audit(store).findings}
    assert found == harmed


def test_strays_are_listed_but_are_no_error_and_stay(store: BlobStore) -> None:
    data = b"an orphan"
    key = blob_key(hashlib.sha256(data).hexdigest())
    store.put(key, data)
    overwrite(store, "blobs/sha256/readme", b"not ours")
    with store.stage("left") as staged:
        staged.write(bytes(9 << 20))
        staged.checkpoint()
    report = audit(store)
    assert sorted(codes(report)) == ["blob-orphan", "foreign-object", "staged-leftover"]
    assert report.is_clean
    assert store.read(key) == data
    assert [stat.key for stat in store.staged_names()] == ["incoming/left"]


def test_only_what_was_not_verified_lately_is_hashed(store: BlobStore, weights: Blob) -> None:
    now = timezone.now()
    Blob.objects.update(verified_at=now)
    Blob.objects.filter(pk=weights.pk).update(verified_at=now - timedelta(days=40))
    assert audit(store, unverified_since=now - timedelta(days=30)).n_hashed == 1


def test_progress_is_told_in_bytes_and_reaches_the_end(store: BlobStore) -> None:
    told: list[tuple[str, int, int]] = []
    audit(store, on_progress=lambda *progress: told.append(progress))
    last = {phase: (done, total) for phase, done, total in told}
    assert last["manifests"] == (1, 1)
    assert last["blobs"][0] == last["blobs"][1] > len(WEIGHTS)


# --- manifests -------------------------------------------------------------------------------------------------


def test_a_lost_manifest_is_found_and_written_again(store: BlobStore, commit: Commit) -> None:
    store.delete(commit.manifest_key)
    assert codes(audit(store, quick=True)) == ["manifest-missing"]
    assert codes(audit(store)) == ["manifest-missing"]
    repaired = audit(store, repair=True)
    assert repaired.is_clean
    assert repaired.findings[0].is_repaired
    assert audit(store).findings == []


def test_a_changed_manifest_is_found_and_left_as_evidence(store: BlobStore, commit: Commit) -> None:
    changed = store.read(commit.manifest_key).replace(b"config.json", b"konfig.json")
    overwrite(store, commit.manifest_key, changed)
    assert codes(audit(store, repair=True)) == ["manifest-damaged"]
    assert store.read(commit.manifest_key) == changed


def test_a_catalog_that_was_changed_disagrees_with_the_manifest(store: BlobStore, commit: Commit) -> None:
    commit.files.filter(path="config.json").update(path="other.json")
    report = audit(store)
    assert codes(report) == ["manifest-differs"]
    assert "config.json, other.json" in report.findings[0].message


def test_a_manifest_without_a_row_is_worth_a_note(store: BlobStore, commit: Commit) -> None:
    store.put(f"commits/org/lost/{'0' * 40}.json", store.read(commit.manifest_key))
    report = audit(store)
    assert codes(report) == ["manifest-orphan"]
    assert report.is_clean


# --- repair ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_a_broken_blob_is_fetched_again_from_its_upstream(
    store: BlobStore, commit: Commit, harm: str, path: str
) -> None:
    blob = blob_of(commit, path)
    key = blob_key(blob.sha256)
    good = store.read(key)
    if harm == "delete":
        store.delete(key)
    else:
        overwrite(store, key, good[:-1] + b"?" if harm == "flip" else good[:-1])
    report = audit(store, repair=True)
    assert report.is_clean
    assert report.findings[0].is_repaired
    assert store.read(key) == good
    assert Blob.objects.get(pk=blob.pk).state == "present"
    assert Event.objects.filter(type="replication", blob=blob).exists()
    assert len(list(store.list("quarantine/"))) == (0 if harm == "delete" else 1)
    assert audit(store).findings == []


def test_a_lying_upstream_cannot_repair_and_the_broken_copy_stays(
    store: BlobStore, weights: Blob, hub: Hub
) -> None:
    overwrite(store, blob_key(weights.sha256), FLIPPED)
    hub.fault("corrupt", path="*.safetensors", at=77)
    report = audit(store, repair=True)
    assert codes(report) == ["blob-damaged"]
    assert "Not repaired" in report.findings[0].message
    assert store.read(blob_key(weights.sha256)) == FLIPPED
    assert list(store.staged_names()) == []


def test_what_has_no_upstream_is_told_so(store: BlobStore) -> None:
    Blob.objects.create(sha256=GONE, size_bytes=15, store=store.name)
    report = audit(store, repair=True)
    assert codes(report) == ["blob-missing"]
    assert "made here" in report.findings[0].message


# --- the command -----------------------------------------------------------------------------------------------


def test_the_command_exits_1_on_damage_and_names_it(deployment: Deployment, hub: Hub) -> None:
    hub.add("org/model", {"config.json": b"{}"})
    deployment.manage("mirror", f"hf+{hub.url}/org/model")
    clean = deployment.manage("audit")
    assert "all as it should be" in clean.stdout
    assert deployment.manage_json("audit", "--quick")["n_hashed"] == 0
    from mirror.blobs import store_from_url

    store = store_from_url(deployment.env["HOLDFAST_BLOBS"])
    key = next(store.list("blobs/")).key
    overwrite(store, key, b"[]")
    broken = deployment.manage("audit", check=False)
    assert broken.returncode == 1
    assert f"ERROR blob-damaged: {key}" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert "1 broken" in broken.stdout
    assert "repaired blob-damaged" in deployment.manage("audit", "--repair").stderr
    assert deployment.manage_json("audit")["is_clean"]


def test_a_store_that_is_out_of_reach_is_not_taken_for_lost_bytes(deployment: Deployment, hub: Hub) -> None:
    hub.add("org/model", {"config.json": b"{}"})
    deployment.manage("mirror", f"hf+{hub.url}/org/model")
    deployment.env["HOLDFAST_BLOBS"] = (
        "s3://x?endpoint=http://127.0.0.1:9&attempts=1&access_key_id=a&secret_access_key=b"
    )
    done = deployment.manage("audit", check=False)
    assert done.returncode == 1
    assert "broken off" in done.stderr
    assert "Traceback" not in done.stderr
