"""A mirrored repo to look after: the hub it came from, the store it lies in, and ways to harm it."""

from pathlib import Path

from mirror.blobs import BlobStore
from mirror.blobs.directory import DirectoryStore
from mirror.blobs.s3 import S3Store
from mirror.sync import submit_mirror
from mirror.upstream import parse_upstream_ref
from registry import work
from registry.models import Blob, Commit
from tests.services.hub import Hub

WEIGHTS = bytes(range(256)) * 30_000
FILES: dict[str, bytes | Path] = {
    "README.md": b"---\nlicense: mit\n---\n# A model\n",
    "config.json": b'{"a": 1}',
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
}


def mirror_from(hub: Hub, repo_id: str = "org/model") -> Commit:
    """The repo as this service holds it, mirrored in this process."""
    hub.add(repo_id, FILES, title="First", card={"license": "mit"})
    job = submit_mirror(parse_upstream_ref(f"hf+{hub.url}/{repo_id}"), send_nudge=False)
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_message
    return Commit.objects.select_related("repo").get(commit_hash=job.result["commit"], repo__repo_id=repo_id)


def blob_of(commit: Commit, path: str) -> Blob:
    return commit.files.get(path=path).blob


def overwrite(store: BlobStore, key: str, data: bytes) -> None:
    """Other bytes lie under the key, put there behind the store's back, as rot or a careless hand would."""
    store.delete(key)
    if isinstance(store, DirectoryStore):
        (store.root / key).parent.mkdir(parents=True, exist_ok=True)
        (store.root / key).write_bytes(data)
    if isinstance(store, S3Store):
        store.connection.client.put_object(**store.connection.place(key), Body=data)
