"""A repo is mirrored whole or not at all, whatever upstream does meanwhile."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mirror.blobs.directory import DirectoryStore
from mirror.blobs.store import blob_key
from mirror.opening import open_client
from mirror.plan import make_plan
from mirror.store import blob_store
from mirror.sync import refuse_when_full, stage_name, submit_mirror
from mirror.upstream import UpstreamRef, parse_upstream_ref
from mirror.upstream.base import RemoteFile
from registry import work
from registry.models import Blob, Commit, Event, File, Job, Ref, Repo, Upstream
from registry.sweep import sweep_jobs
from registry.work import JobFailed
from tests.mirror.mirrored import overwrite
from tests.services.hub import Hub
from tests.services.processes import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

WEIGHTS = bytes(range(256)) * 8_000
FILES: dict[str, bytes | Path] = {
    "README.md": b"---\nlicense: mit\n---\n# A model\n",
    "config.json": b'{"a": 1}',
    "deep/er/notes.txt": b"",
    "model.safetensors": WEIGHTS,
    "copy.safetensors": WEIGHTS,
}
NEXT = {**FILES, "model.safetensors": WEIGHTS[::-1], "new.txt": b"new"}


@pytest.fixture(autouse=True)
def _one_attempt(settings: Any) -> None:
    settings.HOLDFAST_MAX_ATTEMPTS = 1
    settings.HOLDFAST_HEARTBEAT_SECONDS = 0.1
    settings.HOLDFAST_LEASE_SECONDS = 20


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.add("org/model", FILES, title="First", card={"license": "mit", "base_model": "org/base"})
        yield running


def ref(hub: Hub, revision: str = "main", repo_id: str = "org/model") -> UpstreamRef:
    return parse_upstream_ref(f"hf+{hub.url}/{repo_id}@{revision}")


def mirror(what: UpstreamRef, **options: Any) -> Job:
    """The job after one slice of work on it in this process."""
    job = submit_mirror(what, send_nudge=False, **options)
    work.run_job(job.pk)
    job.refresh_from_db()
    return job


def head(hub: Hub, branch: str = "main") -> str:
    return hub.repos["org/model"].branches[branch]


def stored(commit: Commit) -> dict[str, bytes]:
    """What we hold of the commit, read back from the store."""
    files = commit.files.select_related("blob")
    return {file.path: blob_store().read(blob_key(file.blob.sha256)) for file in files}


def nothing_is_published() -> bool:
    published = [Repo.objects.exists(), Commit.objects.exists(), File.objects.exists(), Ref.objects.exists()]
    return not any(published) and list(blob_store().list("commits/")) == []


def when_seen(hub: Hub, on: str, then: Callable[[], None]) -> threading.Thread:
    """Runs `then` beside the test as soon as the hub has seen such a request."""

    def watch() -> None:
        wait_for(lambda: bool(hub.seen(on)), seconds=20, what=f"a {on} request")
        then()
        connection.close()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


# --- what is true afterwards ------------------------------------------------------------------------------


def test_every_file_is_held_under_upstreams_commit_id(hub: Hub) -> None:
    job = mirror(ref(hub))
    assert job.state == "succeeded"
    commit = Commit.objects.get(commit_hash=head(hub))
    assert stored(commit) == FILES
    assert (commit.n_files, commit.size_bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert (commit.title, commit.author, commit.upstream_info["cardData"]["license"]) == (
        "First",
        "ada",
        "mit",
    )
    truth = hub.repos["org/model"].commits[commit.commit_hash].files
    assert {file.path: file.etag for file in commit.files.select_related("blob")} == {
        path: entry.etag for path, entry in truth.items()
    }


def test_the_repo_its_refs_and_where_it_came_from_are_recorded(hub: Hub) -> None:
    hub.tag("org/model", "v1", head(hub))
    job = mirror(ref(hub))
    repo = Repo.objects.get(repo_id="org/model")
    assert (repo.upstream, repo.upstream_repo_id) == (Upstream.objects.get(endpoint=hub.url), "org/model")
    assert repo.head
    assert repo.head.commit_hash == head(hub)
    assert {(one.kind, one.name) for one in repo.refs.all()} == {("branch", "main"), ("tag", "v1")}
    assert repo.synced_at
    assert not repo.private
    event = Event.objects.get(type="ingestion")
    assert (event.repo, event.commit) == (repo, repo.head)
    assert head(hub)[:8] in event.summary
    assert job.repo == repo
    assert job.bytes_done == job.bytes_total == sum(map(len, FILES.values())) - len(WEIGHTS)


def test_inspection_is_asked_for_once(hub: Hub) -> None:
    mirror(ref(hub))
    mirror(ref(hub))
    inspection = Job.objects.get(kind="inspect")
    assert inspection.params == {"commit": Commit.objects.get().pk}


def test_the_manifest_in_the_bucket_says_the_same_as_the_rows(hub: Hub) -> None:
    mirror(ref(hub))
    commit = Commit.objects.select_related("repo").get()
    written = blob_store().read(commit.manifest_key)
    manifest = json.loads(written)
    assert hashlib.sha256(written).hexdigest() == commit.manifest_sha256
    rows = commit.files.order_by("path").values_list(
        "path", "blob__sha256", "git_oid", "size_bytes", "is_lfs"
    )
    told = [
        tuple(file[key] for key in ("path", "sha256", "git_oid", "size_bytes", "is_lfs"))
        for file in manifest["files"]
    ]
    assert told == list(rows)
    assert manifest["upstream"] == {
        "kind": "huggingface", "endpoint": hub.url, "repo_id": "org/model", "revision": "main",
    }  # fmt: skip
    assert manifest["license"] == "mit"
    assert manifest["lineage"][0]["repo_id"] == "org/base"


def test_blobs_are_verified_and_nothing_stays_staged(hub: Hub) -> None:
    mirror(ref(hub))
    assert Blob.objects.count() == len(set(FILES.values()))
    assert not Blob.objects.filter(verified_at=None).exists()
    assert Blob.objects.get(size_bytes=8).git_oid
    assert list(blob_store().staged_names()) == []


def test_mirroring_again_asks_but_fetches_nothing(hub: Hub) -> None:
    mirror(ref(hub))
    n_requests = len(hub.seen("resolve"))
    job = mirror(ref(hub))
    assert job.state == "succeeded"
    assert job.result["already_held"]
    assert len(hub.seen("resolve")) == n_requests


def test_a_new_commit_fetches_only_what_changed(hub: Hub) -> None:
    mirror(ref(hub))
    hub.add("org/model", NEXT)
    job = mirror(ref(hub))
    assert job.result["n_fetched"] == 2
    assert stored(Commit.objects.get(commit_hash=head(hub))) == NEXT
    assert stored(Commit.objects.exclude(commit_hash=head(hub)).get()) == FILES
    assert Ref.objects.get(name="main").commit.commit_hash == head(hub)
    assert Repo.objects.get().head == Ref.objects.get(name="main").commit


def test_a_fork_shares_the_bytes_that_it_did_not_change(hub: Hub) -> None:
    mirror(ref(hub))
    hub.add("other/fork", NEXT)
    job = mirror(ref(hub, repo_id="other/fork"))
    assert job.result["n_fetched"] == 2
    assert stored(Commit.objects.get(repo__repo_id="other/fork")) == NEXT


@pytest.mark.parametrize("how", ["tag", "hash"])
def test_an_older_revision_is_mirrored_without_moving_main(hub: Hub, how: str) -> None:
    first = head(hub)
    hub.tag("org/model", "v1", first)
    hub.add("org/model", NEXT)
    mirror(ref(hub))
    mirror(ref(hub, {"tag": "v1", "hash": first}[how]))
    assert Ref.objects.get(name="main").commit.commit_hash == head(hub)
    assert Ref.objects.get(name="v1").commit.commit_hash == first
    assert Repo.objects.get().head.commit_hash == head(hub)


def test_another_name_here_is_possible(hub: Hub) -> None:
    assert mirror(ref(hub), repo_id="mine/copy").state == "succeeded"
    assert Repo.objects.get().repo_id == "mine/copy"
    assert Repo.objects.get().upstream_repo_id == "org/model"


def test_a_folder_is_mirrored_like_any_upstream(tmp_path: Path) -> None:
    for path, content in FILES.items():
        (tmp_path / "my-model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my-model" / path).write_bytes(content)  # type: ignore[arg-type]
    assert mirror(parse_upstream_ref(f"dir:{tmp_path}/my-model")).state == "succeeded"
    assert stored(Commit.objects.get(repo__repo_id="local/my-model")) == FILES


def test_a_gated_repo_stays_gated_here(hub: Hub) -> None:
    hub.repos["org/model"].gated = "manual"
    mirror(ref(hub))
    assert Repo.objects.get().gated == "manual"


def test_the_operators_token_opens_a_private_repo_and_it_stays_private(settings: Any) -> None:
    with Hub(token="hf_secret") as hub:
        hub.add("org/model", FILES)
        settings.HOLDFAST_UPSTREAM_TOKENS = [f"{hub.address}=hf_secret"]
        assert mirror(ref(hub)).state == "succeeded"
        assert Repo.objects.get().private


def test_the_hubs_token_goes_to_the_hub_only(settings: Any) -> None:
    settings.HF_TOKEN = "hf_secret"
    with Hub(token="hf_secret") as hub, Hub(token="hf_secret") as other:
        settings.HOLDFAST_HUB_ENDPOINT = hub.url
        for one in (hub, other):
            one.add("org/model", FILES)
        assert open_client(ref(hub)).resolve("org/model", "main")
        assert mirror(ref(other)).error_code == "repo-not-found"
        assert "authorization" not in other.requests[0].headers


# --- upstream changes its mind, workers die, slices end ----------------------------------------------------


def test_a_branch_that_moves_during_the_download_gives_the_whole_old_commit(hub: Hub) -> None:
    old = head(hub)
    new = hub.add("org/model", NEXT)
    hub.repos["org/model"].branches["main"] = old
    hub.fault("move", to=new, times=1)
    job = mirror(ref(hub))
    assert job.result["commit"] == old
    assert job.result["moved_to"] == new
    assert stored(Commit.objects.get()) == FILES
    assert Ref.objects.get(name="main").commit.commit_hash == old
    mirror(ref(hub))
    assert stored(Ref.objects.get(name="main").commit) == NEXT


def test_work_goes_on_in_the_next_slice_with_the_same_commit(hub: Hub, settings: Any) -> None:
    old = head(hub)
    hub.fault("slow", path="*.safetensors", rate=1_000_000, times=1)
    settings.HOLDFAST_SLICE_SECONDS = 0.5
    job = mirror(ref(hub))
    assert job.state == "queued"
    assert nothing_is_published()
    staged = sum(stat.size_bytes for stat in blob_store().staged_names())
    hub.add("org/model", NEXT)
    settings.HOLDFAST_SLICE_SECONDS = 60
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert job.result["commit"] == old
    assert job.result["n_fetched"] == len(set(FILES.values()))
    assert stored(Commit.objects.get()) == FILES
    if isinstance(blob_store(), DirectoryStore):
        assert staged
        assert hub.seen("resolve", "*.safetensors")[-1].headers["range"] == f"bytes={staged}-"


def test_a_worker_that_lost_its_lease_publishes_nothing(hub: Hub) -> None:
    job = submit_mirror(ref(hub), send_nudge=False)
    hub.fault("slow", path="*.safetensors", rate=2_000_000)
    thread = when_seen(
        hub, "resolve", lambda: Job.objects.filter(pk=job.pk).update(fence=F("fence") + 1) and None
    )
    work.run_job(job.pk)
    thread.join()
    job.refresh_from_db()
    assert job.state == "running"
    assert nothing_is_published()


def test_a_cancelled_job_publishes_nothing(hub: Hub) -> None:
    job = submit_mirror(ref(hub), send_nudge=False)
    hub.fault("slow", path="*.safetensors", rate=500_000)
    thread = when_seen(hub, "resolve", lambda: work.cancel(job.pk) and None)
    work.run_job(job.pk)
    thread.join()
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert nothing_is_published()


def test_a_rate_limit_parks_the_job_and_loses_nothing(hub: Hub, settings: Any) -> None:
    settings.HOLDFAST_FILES_IN_PARALLEL = 1  # another could be the first to be told: not our turn
    hub.fault("status", status=429, retry_after=120, path="model.safetensors", times=1)
    job = mirror(ref(hub))
    assert job.state == "queued"
    assert job.run_after > timezone.now() + timedelta(seconds=100)
    assert job.attempts == 0
    assert job.error_code == "rate-limited"
    assert "asks us to wait 120 seconds" in job.error_message
    Upstream.objects.update(paused_until=timezone.now())
    Job.objects.filter(pk=job.pk).update(run_after=timezone.now())
    sweep_jobs()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("succeeded", "")
    assert stored(Commit.objects.get()) == FILES


def test_an_upstream_that_never_stops_refusing_is_asked_ever_less_often(hub: Hub) -> None:
    hub.fault("status", status=429, retry_after=1, path="model.safetensors")
    job, waits = mirror(ref(hub)), []
    for _ in range(5):
        job.refresh_from_db()
        waits.append(round((job.run_after - timezone.now()).total_seconds()))
        Upstream.objects.update(paused_until=timezone.now(), learned_per_second=None)
        Job.objects.filter(pk=job.pk).update(run_after=timezone.now() - timedelta(seconds=1))
        work.run_job(job.pk)
    assert waits == sorted(waits)
    assert waits[-1] >= 10


def test_two_jobs_for_the_same_bytes_end_with_one_blob(hub: Hub) -> None:
    hub.add("other/fork", FILES)
    jobs = [submit_mirror(ref(hub, repo_id=name), send_nudge=False) for name in ("org/model", "other/fork")]

    def run(job: Job) -> None:
        work.run_job(job.pk)
        connection.close()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Job.objects.filter(kind="mirror").values_list("state", flat=True)) == {"succeeded"}
    assert Blob.objects.count() == len(set(FILES.values()))
    assert all(stored(commit) == FILES for commit in Commit.objects.all())


def test_bytes_that_went_missing_come_back(hub: Hub) -> None:
    mirror(ref(hub))
    blob = Blob.objects.get(size_bytes=len(WEIGHTS))
    blob_store().delete(blob_key(blob.sha256))
    Blob.objects.filter(pk=blob.pk).update(state="missing")
    hub.add("other/fork", FILES)
    mirror(ref(hub, repo_id="other/fork"))
    blob.refresh_from_db()
    assert blob.state == "present"
    assert stored(Commit.objects.get(repo__repo_id="org/model")) == FILES


@pytest.mark.parametrize("state", ["missing", "damaged"])
@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_mirroring_again_heals_what_an_audit_found_broken(hub: Hub, state: str, path: str) -> None:
    mirror(ref(hub))
    blob = File.objects.get(path=path).blob
    store, key = blob_store(), blob_key(blob.sha256)
    good = store.read(key)
    if state == "missing":
        store.delete(key)
    else:
        overwrite(store, key, b"?" + good[1:])
    Blob.objects.filter(pk=blob.pk).update(state=state)
    job = mirror(ref(hub))
    blob.refresh_from_db()
    assert (job.state, blob.state, job.result["n_fetched"]) == ("succeeded", "present", 1)
    assert stored(Commit.objects.get()) == FILES
    assert mirror(ref(hub)).result["already_held"]


def test_what_a_dead_worker_staged_is_removed_although_another_repo_brought_the_bytes(hub: Hub) -> None:
    hub.add("other/fork", FILES)
    name = stage_name("org/model", hashlib.sha256(WEIGHTS).hexdigest())
    for repo_id in ("other/fork", "org/model", "org/model"):
        with blob_store().stage(name) as staged:
            staged.write(WEIGHTS[:1_000_000])
            staged.checkpoint()
        mirror(ref(hub, repo_id=repo_id))
    assert list(blob_store().staged_names()) == []
    assert stored(Commit.objects.get(repo__repo_id="org/model")) == FILES


def test_a_damaged_blob_is_replaced_by_good_bytes_and_kept_aside(hub: Hub) -> None:
    mirror(ref(hub))
    blob = Blob.objects.get(size_bytes=len(WEIGHTS))
    if not (path := blob_store().local_path(blob_key(blob.sha256))):
        pytest.skip("an object of an S3 store cannot be damaged from here")
    path.chmod(0o644)
    path.write_bytes(b"x" + WEIGHTS[1:])
    Blob.objects.filter(pk=blob.pk).update(state="damaged")
    hub.add("other/fork", FILES)
    assert mirror(ref(hub, repo_id="other/fork")).state == "succeeded"
    blob.refresh_from_db()
    assert blob.state == "present"
    assert stored(Commit.objects.get(repo__repo_id="org/model")) == FILES
    assert len(list(blob_store().list("quarantine/"))) == 1


# --- bad input --------------------------------------------------------------------------------------------

LIES: list[tuple[str, dict[str, Any], str]] = [
    ("status", {"status": 401, "on": "info"}, "access-denied"),
    ("status", {"status": 403, "on": "info"}, "access-denied"),
    ("status", {"status": 403, "error_code": "GatedRepo"}, "gated-repo"),
    ("status", {"status": 404, "error_code": "EntryNotFound"}, "entry-not-found"),
    ("status", {"status": 500, "on": "info"}, "upstream-unavailable"),
    ("status", {"status": 503}, "upstream-unavailable"),
    ("cut", {"at": 0}, "upstream-unavailable"),
    ("truncate", {"at": 3}, "wrong-size"),
    ("list-size", {"path": "*.safetensors", "by": 5}, "wrong-size"),
    ("list-size", {"path": "model.safetensors", "by": 5}, "bad-listing"),  # its copy has the true size
    ("list-sha256", {"path": "model.safetensors"}, "wrong-digest"),
    ("list-oid", {"path": "config.json"}, "wrong-digest"),
    ("corrupt", {"path": "model.safetensors", "at": 1_000_000}, "wrong-digest"),
    ("html", {"path": "model.safetensors"}, "html-instead-of-file"),
    ("pointer", {"path": "model.safetensors"}, "pointer-instead-of-file"),
    ("list-path", {"to": "../../etc/cron.d/x"}, "bad-listing"),
    ("list-path", {"to": "/etc/passwd"}, "bad-listing"),
    ("list-path", {"to": "config.json/x"}, "bad-listing"),
    ("list-loop", {}, "bad-listing"),
    ("not-json", {"on": "tree"}, "bad-answer"),
    ("redirect", {"to": "http://169.254.169.254/latest"}, "address-refused"),
]


@pytest.mark.parametrize(("fault", "how", "code"), LIES, ids=[f"{fault} {how}" for fault, how, _ in LIES])
def test_a_bad_upstream_fails_the_job_by_name_and_publishes_nothing(
    hub: Hub, fault: str, how: dict[str, Any], code: str
) -> None:
    hub.fault(fault, **how)
    job = mirror(ref(hub))
    assert (job.state, job.error_code) == ("failed", code)
    assert (
        hub.address in job.error_message or "org/model" in job.error_message or "169.254" in job.error_message
    )
    assert "Traceback" not in job.error_message
    assert nothing_is_published()


@pytest.mark.parametrize(
    ("repo_id", "revision", "code"),
    [("org/none", "main", "repo-not-found"), ("org/model", "v9", "revision-not-found")],
)
def test_an_unknown_repo_or_revision_is_named(hub: Hub, repo_id: str, revision: str, code: str) -> None:
    job = mirror(ref(hub, revision, repo_id))
    assert (job.state, job.error_code) == ("failed", code)
    assert repo_id in job.error_message
    assert nothing_is_published()


def test_a_failed_update_leaves_the_old_commit_as_it_was(hub: Hub) -> None:
    mirror(ref(hub))
    old = head(hub)
    hub.add("org/model", NEXT)
    hub.fault("corrupt", path="model.safetensors", at=7)
    assert mirror(ref(hub)).error_code == "wrong-digest"
    assert Ref.objects.get(name="main").commit.commit_hash == old
    assert stored(Commit.objects.get()) == FILES


def test_a_failed_job_can_be_retried_and_goes_on_where_it_was(hub: Hub) -> None:
    hub.fault("status", status=503, path="config.json")
    failed = mirror(ref(hub))
    assert failed.error_code == "upstream-unavailable"
    hub.heal()
    n_requests = len(hub.seen("resolve", "*.safetensors"))
    again = work.retry(failed.pk)
    assert again
    work.run_job(again.pk)
    again.refresh_from_db()
    assert again.state == "succeeded"
    assert len(hub.seen("resolve", "*.safetensors")) == n_requests
    assert stored(Commit.objects.get()) == FILES


def test_a_name_keeps_its_upstream(hub: Hub) -> None:
    mirror(ref(hub))
    with Hub() as other:
        other.add("org/model", NEXT)
        job = mirror(ref(other))
    assert job.error_code == "bound-elsewhere"
    assert hub.address in job.error_message
    assert stored(Commit.objects.get()) == FILES


def test_a_name_that_we_cannot_keep_is_refused_with_the_remedy(hub: Hub) -> None:
    job = mirror(ref(hub), repo_id="no-namespace")
    assert job.error_code == "bad-repo-id"
    assert "--as" in job.error_message


def test_a_name_that_one_of_our_own_pages_would_hide_is_refused(hub: Hub) -> None:
    job = mirror(ref(hub), repo_id="API/model")
    assert (job.state, job.error_code) == ("failed", "bad-repo-id")
    assert "API/ is a page of this service" in job.error_message
    assert nothing_is_published()


def test_a_full_disk_is_noticed_before_the_first_byte(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "blobs")
    plan = make_plan(store, [RemoteFile("w", 10**12, "ab" * 20, "cd" * 32)])
    with pytest.raises(JobFailed, match="free some space") as refusal:
        refuse_when_full(store, plan, lambda path: 10**12)
    assert refusal.value.code == "no-space"
    refuse_when_full(store, plan, lambda path: 10**12 + (1 << 30))


def test_what_is_staged_already_needs_no_room(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "blobs")
    with store.stage("mirror-x-" + "cd" * 32) as staged:
        staged.write(b"x" * 1000)
    plan = make_plan(store, [RemoteFile("w", 1000, "ab" * 20, "cd" * 32)])
    refuse_when_full(store, plan, lambda path: 256 << 20)


# --- cost -------------------------------------------------------------------------------------------------


def test_the_number_of_queries_does_not_grow_with_the_number_of_files(hub: Hub, settings: Any) -> None:
    settings.HOLDFAST_HEARTBEAT_SECONDS = 60  # beats would be counted
    counted = []
    for n_files in (3, 60):
        hub.add(f"many/files-{n_files}", {f"{n}.txt": f"{n_files} {n}".encode() for n in range(n_files)})
        job = submit_mirror(ref(hub, repo_id=f"many/files-{n_files}"), send_nudge=False)
        with CaptureQueriesContext(connection) as queries:
            work.run_job(job.pk)
        counted.append(len(queries))
    assert Commit.objects.filter(n_files=60).exists()
    assert counted[1] <= counted[0] + 2
