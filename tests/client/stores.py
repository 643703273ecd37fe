"""The stores of other tools, as they lay them out, in a home of a test."""

import hashlib
from pathlib import Path


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
