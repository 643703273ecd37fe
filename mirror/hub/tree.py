"""Listings of a commit: `/tree/{revision}[/{folder}]` page by page, and `/paths-info/` for named paths."""

import heapq
import json
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from urllib.parse import parse_qs

from django.db import connection
from django.db.models import QuerySet, Value
from django.db.models.functions import Collate, StrIndex, Substr
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub import wire
from mirror.hub.asking import YES, cursor, link_next, read_cursor, read_flag, read_limit
from mirror.hub.delivery import cache_control
from mirror.hub.doors import door
from mirror.hub.errors import bad_request, entry_not_found
from mirror.hub.finding import Place, find_place, find_repo
from mirror.hub.history import last_changes
from registry import git
from registry.access import Somebody
from registry.models import Commit, File
from registry.prepared import Prepared

PAGE, PAGE_EXPANDED = 1000, 50  # llama.cpp reads one page only
MOST_PATHS = 10_000
PATHS_AT_ONCE = 500
FEW = 100  # files of a commit: read at once, for the page and for the oids of its folders

Entry = File | tuple[str, str]
"""A file, or a folder as (path, oid)."""


@door("GET")
def list_tree(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """One page of what a folder holds, by path; with `recursive` everything below it."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}")
    place = find_place(request, repo, rest, light=True)
    expand, recursive = read_flag(request, "expand"), read_flag(request, "recursive")
    most = PAGE_EXPANDED if expand else PAGE
    limit = read_limit(request, most, most)
    entries = _read_page(place, read_cursor(request), limit + 1, recursive=recursive)
    if entries is None:
        raise entry_not_found(repo.repo_id, place.commit.commit_hash, place.path)
    response = _answer(place, entries[:limit], expand=expand)
    if len(entries) > limit:
        link_next(request, response, cursor=cursor(_path(entries[limit - 1])))
    return response


@door("POST")
def paths_info(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str, rest: str
) -> HttpResponse:
    """The named files and folders, in the order asked; those that do not exist are left out."""
    repo = find_repo(request, user, repo_type, f"{namespace}/{name}", is_reading=True)
    paths, expand = _read_paths(request)
    place = find_place(request, repo, rest, light=True)
    wanted = list(dict.fromkeys(path.strip("/") for path in paths))
    folders, whole = _read_folders(place)
    found: dict[str, Entry] = {path: (path, folders[path]) for path in wanted if path and path in folders}
    if whole is not None:
        found |= {file.path: file for file in whole}
    for start in range(0, len(wanted) if whole is None else 0, PATHS_AT_ONCE):
        some = File.objects.filter(commit=place.commit, path__in=wanted[start : start + PATHS_AT_ONCE])
        found |= {file.path: file for file in some}
    return _answer(place, [found[path] for path in wanted if path in found], expand=expand)


def _answer(place: Place, entries: list[Entry], *, expand: bool) -> HttpResponse:
    files = [entry for entry in entries if isinstance(entry, File)]
    folders = [entry[0] for entry in entries if not isinstance(entry, File)]
    changes: dict[str, Commit] = last_changes(place.commit, files, folders) if expand and entries else {}
    shapes = [
        wire.tree_file(entry, changes.get(entry.path))
        if isinstance(entry, File)
        else wire.tree_folder(*entry, changes.get(entry[0]))
        for entry in entries
    ]
    headers = {"X-Repo-Commit": place.commit.commit_hash, "Cache-Control": cache_control(place)}
    return JsonResponse(shapes, safe=False, headers=headers | {"Vary": "Authorization, Cookie"})


def _read_folders(place: Place) -> tuple[dict[str, str], list[File] | None]:
    """(oid of each folder of the commit, its files where they are few). At most one query."""
    if place.commit.n_files > FEW:
        return folder_oids(place.commit.pk, place.commit.commit_hash), None
    whole = _files_in(commit=place.commit.pk)
    return git.folder_oids({file.path: file.git_oid for file in whole}), whole


_files_in: Prepared[File] = Prepared(lambda commit: File.objects.filter(commit=commit), commit=int)


@lru_cache(maxsize=256)
def folder_oids(commit_pk: int, commit_hash: str) -> dict[str, str]:
    """{folder: oid of its git tree} of a commit, "" being the root. One query the first time; commits never change."""
    return git.folder_oids(dict(_oids_in(commit=commit_pk)))


_oids_in: Prepared[tuple[str, str]] = Prepared(
    lambda commit: File.objects.filter(commit=commit).values_list("path", "git_oid"), commit=int
)


def _read_page(place: Place, after: str, count: int, *, recursive: bool) -> list[Entry] | None:
    """The next entries behind the path `after`, folders and files together in the order of their bytes.

    None where there is no such folder. One query for a commit of few files, else one or two.
    """
    prefix = f"{place.path}/" if place.path else ""
    oids, whole = _read_folders(place)
    if place.path not in oids:
        return None

    def is_there(path: str) -> bool:
        return path > after and path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])

    folders: Iterable[Entry] = sorted((path, oid) for path, oid in oids.items() if path and is_there(path))
    if whole is None:
        files = _files_behind(bool(prefix), recursive, count)(
            commit=place.commit.pk, after=max(after, prefix), end=f"{place.path}0", rest=len(prefix) + 1
        )
    else:
        files = sorted((file for file in whole if is_there(file.path)), key=_path)
    return list(islice(heapq.merge(folders, files, key=_path), count))


@lru_cache(maxsize=64)
def _files_behind(is_below: bool, is_recursive: bool, count: int) -> Prepared[File]:
    """So many files after a path, in an order that Python shares: the default collation of a PostgreSQL need not.

    What is below a folder lies before its name and "0", which is next to "/". Names of files begin at letter `rest`.
    """
    collation = "C" if connection.vendor == "postgresql" else "BINARY"

    def build(commit: int, after: str, end: str, rest: int) -> QuerySet[File]:
        files = File.objects.filter(commit=commit).alias(by_bytes=Collate("path", collation))
        files = files.filter(by_bytes__gt=after)
        if is_below:
            files = files.filter(by_bytes__lt=end)
        if not is_recursive:
            files = files.alias(slash=StrIndex(Substr("path", Value(rest)), Value("/"))).filter(slash=0)
        return files.order_by("by_bytes")[:count]

    return Prepared(build, commit=int, after=str, end=str, rest=int)


def _path(entry: Entry) -> str:
    return entry.path if isinstance(entry, File) else entry[0]


def _read_paths(request: HttpRequest) -> tuple[list[str], bool]:
    """(paths, expand) of a form or a JSON body; Django's own limit on form fields would be too low."""
    try:
        if request.content_type == "multipart/form-data":
            raise ValueError
        if request.content_type == "application/json":
            asked = json.loads(request.body or b"{}")
            paths, expand = asked.get("paths", []), asked.get("expand", False)
        else:
            form = parse_qs(request.body.decode(), max_num_fields=2 * MOST_PATHS)
            paths, expand = form.get("paths", []), form.get("expand", [""])[0]
    except (ValueError, AttributeError, RecursionError):
        raise bad_request("the body is neither a form nor JSON with `paths` and `expand`.") from None
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) and "\0" not in path for path in paths):
        raise bad_request("`paths` must be a list of texts.")
    if len(paths) > MOST_PATHS:
        raise bad_request(f"{len(paths)} paths at once; ask for at most {MOST_PATHS}.")
    return paths, str(expand).lower() in YES
