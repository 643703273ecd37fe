"""The manifest says all that a commit is, and is written once."""

import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest

from mirror.manifest import ManifestDiffers, ManifestFile, manifest_bytes, write_manifest
from mirror.store import blob_store

COMMIT = "ab" * 20
FILES = [
    ManifestFile("model.safetensors", 7, "cd" * 32, "12" * 20, True),
    ManifestFile("README.md", 3, "ef" * 32, "34" * 20, False),
]


def made(files: list[ManifestFile] = FILES, day: int = 1) -> bytes:
    return manifest_bytes(
        repo_id="org/modèle", repo_type="model", commit_hash=COMMIT, parents=["11" * 20], title="t", message="m",
        author="ada", committed_at=None, recorded_at=datetime(2026, 1, day, tzinfo=UTC), files=files,
        upstream={"kind": "huggingface", "endpoint": "https://huggingface.co", "repo_id": "org/model"},
        license_id="mit", git_object=b"tree \xff",
        lineage=[{"relation": "finetune", "repo_id": "org/base", "commit_hash": None}],
    )  # fmt: skip


def test_it_holds_every_fact_needed_to_rebuild_the_rows() -> None:
    manifest = json.loads(made())
    assert manifest["files"][0] == {
        "path": "README.md", "size_bytes": 3, "sha256": "ef" * 32, "git_oid": "34" * 20, "is_lfs": False,
    }  # fmt: skip
    assert (manifest["n_files"], manifest["size_bytes"], manifest["license"]) == (2, 10, "mit")
    assert manifest["upstream"]["endpoint"] == "https://huggingface.co"
    assert manifest["lineage"][0]["repo_id"] == "org/base"
    assert manifest["repo_id"] == "org/modèle"
    assert base64.b64decode(manifest["git_object"]) == b"tree \xff"


def test_the_order_of_the_files_does_not_matter() -> None:
    assert made() == made(FILES[::-1])


def test_a_commit_has_the_same_manifest_for_ever() -> None:
    store = blob_store()
    first = write_manifest(store, "org/model", COMMIT, made(day=1))
    assert write_manifest(store, "org/model", COMMIT, made(day=2)) == first
    kept = store.read(f"commits/org/model/{COMMIT}.json")
    assert hashlib.sha256(kept).hexdigest() == first
    assert kept == made(day=1)


def test_a_manifest_of_other_files_is_neither_replaced_nor_accepted() -> None:
    store = blob_store()
    write_manifest(store, "org/model", COMMIT, made())
    with pytest.raises(ManifestDiffers, match=COMMIT):
        write_manifest(store, "org/model", COMMIT, made(FILES[:1]))
    assert store.read(f"commits/org/model/{COMMIT}.json") == made()
