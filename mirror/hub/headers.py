"""`/safetensors-metadata/{index}`: the headers of every shard of a checkpoint in one answer.

The headers come as the files have them: JSON of bounded size, not judged here. What a checkpoint is worth is said by
inspection, in the conversion.
"""

import json
import struct
from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.blobs.store import blob_key
from mirror.hub.delivery import cache_control, check_available
from mirror.hub.doors import door
from mirror.hub.errors import HubError, bad_request, bytes_unavailable, entry_not_found
from mirror.hub.finding import Place, check_may_read, find_commit, find_file, find_repo
from mirror.store import blob_store
from registry.access import Somebody
from registry.models import File
from registry.revisions import DEFAULT

MAX_INDEX_BYTES = 32 << 20
MAX_HEADERS_BYTES = 64 << 20
"""Of all shards together: four times what the largest public checkpoint has."""
MAX_SHARDS = 2000
LENGTH = struct.Struct("<Q")


@door("GET")
def safetensors_metadata(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, path: str
) -> HttpResponse:
    """`index` without its weight map, and `headers` by the paths that it names, of `main`. Four queries."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    check_may_read(user, repo)
    place = Place(repo, DEFAULT, find_commit(repo, DEFAULT, light=True), path)
    index = _object(_bytes(place, find_file(place), 0, MAX_INDEX_BYTES), path)
    told = {"index": {"metadata": index.get("metadata")}, "headers": _headers(place, _shards(index, path))}
    headers = {
        "X-Repo-Commit": place.commit.commit_hash, "Cache-Control": cache_control(place),
        "Vary": "Authorization, Cookie",
    }  # fmt: skip
    return JsonResponse(told, headers=headers)


def _shards(index: dict[str, Any], path: str) -> list[str]:
    """The files that the weight map names, each once, as it writes them."""
    weight_map = index.get("weight_map")
    names = (
        set(weight_map.values())
        if isinstance(weight_map, dict) and _are_texts(weight_map.values())
        else set()
    )
    if not names or len(names) > MAX_SHARDS:
        raise bad_request(f"{path!r} is no index of safetensors: its weight_map names no files, or too many.")
    return sorted(names)


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) and "\0" not in value for value in values)


def _headers(place: Place, names: list[str]) -> dict[str, Any]:
    """{name: header} of the files beside the index."""
    folder = place.path.rpartition("/")[0]
    paths = {name: f"{folder}/{name}" if folder else name for name in names}
    rows = File.objects.filter(commit=place.commit, path__in=paths.values()).select_related("blob")
    files = {file.path: file for file in rows}
    headers, left = {}, MAX_HEADERS_BYTES
    for name, path in paths.items():
        if path not in files:
            raise entry_not_found(place.repo.repo_id, place.commit.commit_hash, path)
        data = _header(place, files[path], left)
        headers[name], left = _object(data, path), left - len(data)
    return headers


def _header(place: Place, file: File, most: int) -> bytes:
    """The JSON that a safetensors file begins with."""
    start = _bytes(place, file, 0, LENGTH.size) if file.size_bytes > LENGTH.size else b""
    size_bytes = LENGTH.unpack(start)[0] if start else 0
    if not 2 <= size_bytes <= file.size_bytes - LENGTH.size:
        raise bad_request(f"{file.path!r} is no safetensors file: its header does not fit into it.")
    if size_bytes > most:
        raise HubError(
            413, f"The headers have more than {MAX_HEADERS_BYTES} bytes together; read them one by one."
        )
    return _bytes(place, file, LENGTH.size, size_bytes)


def _bytes(place: Place, file: File, start: int, most: int) -> bytes:
    if file.blob is None:
        raise bytes_unavailable(place.repo.repo_id, place.commit.commit_hash, file.path, "not held yet")
    check_available(place, file.blob)
    length = min(most, file.size_bytes - start)
    return blob_store().read(blob_key(file.blob.sha256), start, length) if length > 0 else b""


def _object(data: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise bad_request(f"{path!r} does not hold the JSON object that is looked for.")
    return value
