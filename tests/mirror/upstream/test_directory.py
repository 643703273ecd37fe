"""A folder as upstream: its commit is the one git would make, and a cache keeps the hub's."""

import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from mirror.upstream.base import BadListing, EntryNotFound, RepoNotFound, RevisionNotFound
from mirror.upstream.directory import Directory, default_repo_id
from registry.git import commit_object_oid, lfs_pointer
from tests.services.hub import Hub

FILES = {"config.json": b"{}", "deep/er/notes.txt": b"hello", "model.safetensors": b"\x00weights" * 1000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "my model", FILES)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def read_all(client: Directory, repo_id: str, revision: str = "main") -> dict[str, bytes]:
    commit = client.resolve(repo_id, revision)
    got = {}
    for file in client.list_files(repo_id, commit.commit_hash):
        with client.open(repo_id, commit.commit_hash, file) as pieces:
            got[file.path] = b"".join(pieces)
    return got


def test_every_file_arrives_unchanged_and_from_any_byte(folder: Path) -> None:
    client = Directory(str(folder))
    assert read_all(client, "local/x") == FILES
    commit = client.resolve("local/x", "main").commit_hash
    weights = {file.path: file for file in client.list_files("local/x", commit)}["model.safetensors"]
    with client.open("local/x", commit, weights, 77) as pieces:
        assert b"".join(pieces) == FILES["model.safetensors"][77:]


def test_the_commit_is_the_one_git_makes(folder: Path, tmp_path: Path) -> None:
    client = Directory(str(folder))
    commit = client.resolve("local/x", "main")
    weights = {file.path: file for file in client.list_files("local/x", commit.commit_hash)}[
        "model.safetensors"
    ]
    kept = write(tmp_path / "git", FILES)
    (kept / "model.safetensors").write_bytes(lfs_pointer(weights.lfs_sha256 or "", weights.size_bytes))
    who = {"NAME": "Holdfast", "EMAIL": "holdfast@localhost", "DATE": "946684800 +0000"}
    environment = {
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
    }

    def git(*arguments: str) -> str:
        clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment}
        return subprocess.check_output(["git", *arguments], cwd=kept, env=clean, text=True).strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", commit.title)
    assert git("rev-parse", "HEAD") == commit.commit_hash


def test_the_object_of_the_commit_has_its_hash(folder: Path) -> None:
    client = Directory(str(folder))
    commit = client.resolve("local/x", "main").commit_hash
    assert commit_object_oid(client.commit_object("local/x", commit) or b"") == commit


def test_the_same_files_give_the_same_commit_anywhere(folder: Path, tmp_path: Path) -> None:
    twin = write(tmp_path / "elsewhere", FILES)
    assert (
        Directory(str(folder)).resolve("a/b", "main").commit_hash
        == Directory(str(twin)).resolve("c/d", "main").commit_hash
    )


def test_a_changed_byte_gives_another_commit_and_the_old_one_is_gone(folder: Path) -> None:
    client = Directory(str(folder))
    before = client.resolve("local/x", "main").commit_hash
    (folder / "config.json").write_bytes(b"[]")
    after = client.resolve("local/x", "main").commit_hash
    assert before != after
    with pytest.raises(RevisionNotFound):
        client.list_files("local/x", before)


def test_gitattributes_decides_what_is_an_lfs_object(folder: Path) -> None:
    (folder / ".gitattributes").write_text("*.txt filter=lfs diff=lfs merge=lfs -text\n")
    client = Directory(str(folder))
    files = client.list_files("local/x", client.resolve("local/x", "main").commit_hash)
    assert [file.path for file in files if file.lfs_sha256] == ["deep/er/notes.txt"]


def test_git_and_cache_folders_are_not_content(folder: Path) -> None:
    write(folder, {".git/config": b"x", ".cache/huggingface/y": b"y"})
    assert read_all(Directory(str(folder)), "local/x") == FILES


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(BadListing, match=r"link\.txt"):
        Directory(str(folder)).resolve("local/x", "main")


def test_a_missing_folder_revision_and_file_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RepoNotFound):
        Directory(str(tmp_path / "none")).resolve("local/x", "main")
    client = Directory(str(folder))
    with pytest.raises(RevisionNotFound):
        client.resolve("local/x", "v1")
    commit = client.resolve("local/x", "main").commit_hash
    file = client.list_files("local/x", commit)[0]
    (folder / file.path).unlink()
    with pytest.raises(EntryNotFound), client.open("local/x", commit, file):
        pass


def test_a_hub_cache_keeps_the_hubs_commit(tmp_path: Path) -> None:
    with Hub() as hub:
        commit = hub.add("org/model", FILES)
        snapshot_download("org/model", endpoint=hub.url, cache_dir=tmp_path, token=False)
    cache = tmp_path / "models--org--model"
    client = Directory(str(cache))
    assert default_repo_id(cache) == "org/model"
    assert client.resolve("org/model", "main").commit_hash == commit
    assert client.resolve("org/model", commit).commit_hash == commit
    assert read_all(client, "org/model") == FILES
    assert [(ref.name, ref.commit_hash) for ref in client.list_refs("org/model")] == [("main", commit)]
    with pytest.raises(RevisionNotFound):
        client.resolve("org/model", "v9")


def test_a_cache_that_lacks_files_of_the_commit_is_refused_by_name(tmp_path: Path) -> None:
    with Hub() as hub:
        commit = hub.add("org/model", FILES)
        snapshot_download(
            "org/model", endpoint=hub.url, cache_dir=tmp_path, token=False, allow_patterns="*.json"
        )
    client = Directory(str(tmp_path / "models--org--model"))
    with pytest.raises(BadListing, match=r"hf download"):
        client.list_files("org/model", client.resolve("org/model", "main").commit_hash)
    assert client.resolve("org/model", "main").commit_hash == commit


def test_a_cache_that_cannot_show_it_is_complete_does_not_claim_the_hubs_commit(tmp_path: Path) -> None:
    with Hub() as hub:
        commit = hub.add("org/model", FILES)
        snapshot_download("org/model", endpoint=hub.url, cache_dir=tmp_path, token=False)
    cache = tmp_path / "models--org--model"
    (cache / "trees" / f"{commit}.json").unlink()
    client = Directory(str(cache))
    made = client.resolve("org/model", "main")
    assert made.commit_hash != commit
    assert made.info["cached_commit"] == commit
    assert read_all(client, "org/model") == FILES
