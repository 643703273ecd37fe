"""Every id is compared with the one the real `git` computes over the same files."""

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import git

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(GIT is None, reason="git is not installed")
FILES = {
    "README.md": b"# hello\n",
    "empty": b"",
    "a.b": b"sorts before the folder a",
    "a/deep/er/file.json": b"{}",
    "a0": b"sorts after the folder a",
    "a/b": b"\x00\xff binary",
    "ümlaut/naïve.txt": b"not ascii",
    "z/model.safetensors": git.lfs_pointer("ab" * 32, 123456789012),
}


def run_git(folder: Path, *arguments: str, stdin: bytes | None = None, **environment: str) -> str:
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **environment}
    done = subprocess.run(
        ["git", "-c", "core.autocrlf=false", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder, input=stdin, capture_output=True, check=True, env=clean,
    )  # fmt: skip
    return done.stdout.decode().strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "-q")
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    run_git(tmp_path, "add", "-A")
    return tmp_path


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_a_file_has_the_oid_git_gives_it(tmp_path: Path, content: bytes) -> None:
    assert git.git_blob_oid(content) == run_git(tmp_path, "hash-object", "--stdin", stdin=content)


def test_a_tree_has_the_oid_git_gives_it(repo: Path) -> None:
    assert git.tree_oid({path: git.git_blob_oid(data) for path, data in FILES.items()}) == run_git(
        repo, "write-tree"
    )


def test_every_folder_has_the_oid_git_gives_it(repo: Path) -> None:
    root = run_git(repo, "write-tree")
    listed = run_git(repo, "-c", "core.quotepath=false", "ls-tree", "-r", "-d", root)
    by_git = {line.split("\t")[1]: line.split("\t")[0].split()[2] for line in listed.splitlines()}
    ours = git.folder_oids({path: git.git_blob_oid(data) for path, data in FILES.items()})
    assert ours == {"": root, **by_git}


def test_no_files_give_the_empty_tree() -> None:
    assert git.tree_oid({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-3, minutes=-30))]
)
@pytest.mark.parametrize("n_parents", [0, 1, 2])
def test_a_commit_has_the_id_git_gives_it(repo: Path, zone: timezone, n_parents: int) -> None:
    tree = run_git(repo, "write-tree")
    author = git.Signature("Ada Lövelace", "ada@example.org", datetime(2026, 2, 3, 4, 5, 6, tzinfo=zone))
    who = {"NAME": author.name, "EMAIL": author.email, "DATE": str(author).rpartition("> ")[2]}
    environment = {
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
    }
    parents: list[str] = []
    for number in range(n_parents):
        parents.append(run_git(repo, "commit-tree", tree, "-m", f"parent {number}", **environment))
    flags = [flag for parent in parents for flag in ("-p", parent)]
    by_git = run_git(repo, "commit-tree", tree, *flags, "-m", "Add weights\n\nBody.", **environment)
    assert git.commit_oid(tree, parents=parents, author=author, message="Add weights\n\nBody.") == by_git


def test_a_pointer_is_recognised_and_content_is_not() -> None:
    assert git.is_lfs_pointer(git.lfs_pointer("ab" * 32, 5))
    assert not git.is_lfs_pointer(b"version 2 of my notes")
    assert git.lfs_pointer_oid("ab" * 32, 5) == git.git_blob_oid(git.lfs_pointer("ab" * 32, 5))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_hashing_in_pieces_gives_the_same_oid(content: bytes, cut: int) -> None:
    digest = git.start_git_hash("blob", len(content))
    digest.update(content[:cut])
    digest.update(content[cut:])
    assert digest.hexdigest() == git.git_blob_oid(content)


NAMES = st.text("ab.-0é", min_size=1, max_size=3).filter(lambda name: name.strip("."))
PATHS = st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12)


@settings(max_examples=100, deadline=None)
@given(PATHS)
def test_trees_are_those_of_another_implementation(paths: set[str]) -> None:
    files = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    store = MemoryObjectStore()
    blobs = [(path.encode(), git.git_blob_oid(path.encode()).encode(), 0o100644) for path in files]
    root = commit_tree(store, blobs)
    ours = list(git.trees((path, git.git_blob_oid(path.encode())) for path in sorted(files)))
    assert ours[-1].folder == ""
    assert ours[-1].oid.encode() == root
    assert {tree.oid.encode(): tree.body for tree in ours} == {
        oid: store[oid].as_raw_string() for oid in store
    }


def test_the_header_of_a_signed_merge_is_read() -> None:
    body = (
        f"tree {'a' * 40}\nparent {'b' * 40}\nparent {'c' * 40}\nauthor A <a> b@c> 12 +0100\n"
        "committer Bé  <b@c> 1700000000 -0330\ngpgsig -----BEGIN\n tree x\n parent y\n -----END\n\ntree of life\n"
    )
    assert git.read_commit(body.encode()) == git.CommitHeader("a" * 40, ("b" * 40, "c" * 40), 1700000000)


TREE = b"tree " + b"a" * 40 + b"\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"tree x\n\n",
        TREE,
        TREE + b"parent b\ncommitter A <a> 1 +0000\n\n",
        TREE + b"committer A <a> soon\n\n",
    ],
)
def test_what_is_no_commit_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="this"):
        git.read_commit(body)
