"""The stores of other tools, as they lay them out, in a home of a test; and our own, as pulls leave it, but quicker."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def put(cache: Path, repo_id: str, commit: str, files: Mapping[str, bytes], *refs: str) -> Path:
    """The commit is in the cache under these refs, weights as LFS objects. Returns the snapshot."""
    folder = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for name in ("blobs", f"snapshots/{commit}", "refs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        etag = git_oid if path.endswith(".json") else hashlib.sha256(content).hexdigest()
        (folder / "blobs" / etag).write_bytes(content)
        (snapshot / path).symlink_to(f"../../blobs/{etag}")
    for ref in refs:
        (folder / "refs" / ref).write_text(commit)
    return snapshot


def ollama(home: Path, *contents: bytes) -> list[Path]:
    """~/.ollama with these blobs."""
    blobs = home / ".ollama" / "models" / "blobs"
    blobs.mkdir(parents=True)
    paths = [blobs / f"sha256-{hashlib.sha256(content).hexdigest()}" for content in contents]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def lm_studio(home: Path, repo_id: str, name: str, content: bytes) -> Path:
    """~/.lmstudio with this file."""
    path = home / ".lmstudio" / "models" / repo_id / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path
