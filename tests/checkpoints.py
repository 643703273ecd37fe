"""Commits for tests that do not care how they came: real blobs in the store, real rows, true git ids.

    commit = record_commit("acme/tiny", {"config.json": b"{}", "model.safetensors": Path(...)})
    record_commit("acme/tiny", {...}, branch="dev")      # a branch beside main
    record_tag(commit, "v1.0")

In a Deployment: `deployment.manage("shell", "-c", "from tests.checkpoints import record_commit; …")`.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from registry import git
from registry.models import Blob, Commit, File, Organisation, Ref, Repo

LFS_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".onnx", ".model", ".npz", ".zip"})
FIRST_DAY = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHUNK_BYTES = 4 << 20

Content = bytes | Path


def record_commit(
    repo_id: str,
    files: Mapping[str, Content] | Path,
    *,
    branch: str = "main",
    message: str = "Add files",
    private: bool = False,
    gated: str = "",
    organisation: Organisation | None = None,
    repo_type: str = Repo.Type.MODEL,
    **facts: Any,
) -> Commit:
    """A commit with these files is held and the branch names it. `facts` are further columns of Commit."""
    repo = ensure_repo(repo_id, private=private, gated=gated, organisation=organisation, repo_type=repo_type)
    contents = read_folder(files) if isinstance(files, Path) else files
    blobs = {content: store_blob(content) for content in set(contents.values())}
    held = {path: (blobs[content], is_lfs(path)) for path, content in contents.items()}
    oids = {path: _git_oid(blob, lfs) for path, (blob, lfs) in held.items()}
    commit = _commit_row(repo, oids, branch, message, facts)
    commit.n_files, commit.size_bytes = len(held), sum(blob.size_bytes for blob, _ in held.values())
    commit.save(update_fields=["n_files", "size_bytes"])
    File.objects.bulk_create(
        File(
            commit=commit,
            path=path,
            blob=blob,
            size_bytes=blob.size_bytes,
            git_oid=oids[path],
            is_lfs=lfs,
            lfs_sha256=blob.sha256 if lfs else None,
        )
        for path, (blob, lfs) in sorted(held.items())
    )
    move_branch(commit, branch)
    return commit


def ensure_repo(repo_id: str, **facts: Any) -> Repo:
    """The repo, made on its first mention."""
    namespace, name = repo_id.split("/")
    repo, _ = Repo.objects.get_or_create(
        repo_id=repo_id, defaults={"namespace": namespace, "name": name} | facts
    )
    return repo


def move_branch(commit: Commit, branch: str = "main") -> Ref:
    """The branch names the commit; for `main` so does the repo's head."""
    repo = commit.repo
    ref, _ = Ref.objects.update_or_create(
        repo=repo, kind=Ref.Kind.BRANCH, name=branch, defaults={"commit": commit}
    )
    if branch == "main":
        repo.head = commit
        repo.save(update_fields=["head", "updated_at"])
    return ref


def record_tag(commit: Commit, name: str) -> Ref:
    return Ref.objects.create(repo=commit.repo, kind=Ref.Kind.TAG, name=name, commit=commit)


def store_blob(content: Content) -> Blob:
    """The bytes are in the configured store and have a row."""
    from mirror.blobs.store import blob_key
    from mirror.store import blob_store

    store = blob_store()
    sha256, size_bytes, git_oid = _digests(content)
    if isinstance(content, bytes):
        store.put(blob_key(sha256), content)
    else:
        with store.stage(f"test-{sha256[:16]}") as staged, content.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                staged.write(chunk)
            store.promote(staged, blob_key(sha256), sha256=sha256, size_bytes=size_bytes)
    blob, _ = Blob.objects.get_or_create(
        sha256=sha256, defaults={"size_bytes": size_bytes, "git_oid": git_oid, "store": store.name}
    )
    return blob


def read_folder(folder: Path) -> dict[str, Content]:
    """{path: file} of everything below the folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def is_lfs(path: str) -> bool:
    return Path(path).suffix in LFS_SUFFIXES


def _git_oid(blob: Blob, lfs: bool) -> str:
    return git.lfs_pointer_oid(blob.sha256, blob.size_bytes) if lfs else str(blob.git_oid)


def _digests(content: Content) -> tuple[str, int, str]:
    size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    sha256, oid = hashlib.sha256(), git.start_git_hash("blob", size_bytes)
    if isinstance(content, bytes):
        sha256.update(content)
        oid.update(content)
    else:
        with content.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                sha256.update(chunk)
                oid.update(chunk)
    return sha256.hexdigest(), size_bytes, oid.hexdigest()


def _commit_row(repo: Repo, oids: Mapping[str, str], branch: str, message: str, facts: Any) -> Commit:
    parent = Commit.objects.filter(refs__repo=repo, refs__kind=Ref.Kind.BRANCH, refs__name=branch).first()
    parent = parent or repo.head  # a new branch begins at main
    parents = [parent.commit_hash] if parent else []
    when = FIRST_DAY + timedelta(hours=Commit.objects.filter(repo=repo).count())
    author = git.Signature("Alice", "alice@example.org", when)
    body = git.commit_object(git.tree_oid(oids), parents=parents, author=author, message=message)
    title = message.splitlines()[0]
    row = {"parents": parents, "title": title, "message": message, "author": "Alice", "committed_at": when}
    row |= {"commit_hash": git.commit_object_oid(body), "git_object": body}
    return Commit.objects.create(repo=repo, **(row | facts))
