"""What a client sends to commit, in the words of the hub."""

import hashlib
import json
from base64 import b64encode
from typing import Any

from django.test import Client

from mirror.blobs.store import blob_key
from mirror.store import blob_store
from registry.models import File

Json = dict[str, Any]
COMMIT = "/api/models/acme/own/commit/main"
BATCH = "/acme/own.git/info/lfs/objects/batch"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def header(summary: str = "Add files", **more: str) -> Json:
    return {"key": "header", "value": {"summary": summary, "description": ""} | more}


def file(path: str, data: bytes) -> Json:
    return {
        "key": "file",
        "value": {"content": b64encode(data).decode(), "path": path, "encoding": "base64"},
    }


def lfs_file(path: str, oid: str, **more: int) -> Json:
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid} | more}


def deleted(path: str) -> Json:
    key = "deletedFolder" if path.endswith("/") else "deletedFile"
    return {"key": key, "value": {"path": path}}


def commit(client: Client, *lines: Json, url: str = COMMIT, **more: str) -> Any:
    """The answer to a commit with these lines after its header."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in (header(**more), *lines))
    return client.post(url, body, content_type="application/x-ndjson")


def ask(client: Client, *objects: bytes, url: str = BATCH, transfers: tuple[str, ...] = ("basic",)) -> Any:
    """The answer to a batch that would upload these."""
    asked = {
        "operation": "upload",
        "transfers": list(transfers),
        "objects": [{"oid": sha256(data), "size": len(data)} for data in objects],
    }
    return client.post(url, json.dumps(asked), content_type="application/vnd.git-lfs+json")


def put(client: Client, href: str, data: bytes) -> Any:
    """The answer to bytes sent where a batch said."""
    return client.put(href.removeprefix("http://testserver"), data, content_type="application/octet-stream")


def content(repo_id: str = "acme/own", branch: str = "main") -> dict[str, bytes]:
    """What the branch has, read from the store."""
    files = File.objects.filter(
        commit__refs__name=branch, commit__refs__repo__repo_id=repo_id
    ).select_related("blob")
    return {file.path: blob_store().read(blob_key(file.held.sha256)) for file in files}
