"""The tree of a commit, and one file in full: what exactly is kept, with every digest."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from registry.access import visible_repos
from registry.models import File, Header
from registry.views.frame import Frame, open_path
from registry.views.paging import pages_of

PAGE = 200  # entries of one folder


@dataclass
class Folder:
    """What lies below a folder, added up."""

    name: str
    n_files: int = 0
    size_bytes: int = 0
    n_upstream: int = 0
    checked: list[datetime | None] = field(default_factory=list)

    @property
    def oldest_check(self) -> datetime | None:
        return None if None in self.checked else min((one for one in self.checked if one), default=None)


def tree(request: HttpRequest, namespace: str, name: str, rest: str = "") -> HttpResponse:
    """One folder of a commit: folders first, then files."""
    if wanted := request.GET.get("revision"):
        return redirect(open_path(request, namespace, name, wanted)[0].tree)
    frame, path = open_path(request, namespace, name, rest)
    folders, files = _entries(frame, path)
    if path and not folders and not files:
        raise Http404(f"{frame.repo.repo_id} has no folder {path!r} at {frame.revision}.")
    pages = pages_of(request, len(files), PAGE)
    shown = [(file, file.path.rsplit("/", 1)[-1]) for file in _with_blobs(files[pages.slice])]
    return render(request, "catalog/files.html", frame.context(
        "files", folders=folders if pages.number == 1 else [], files=shown, pages=pages, path=path,
        crumbs=crumbs(frame, path), description=f"Files of {frame.repo.repo_id} with sizes and sha256 digests.",
    ))  # fmt: skip


def blob(request: HttpRequest, namespace: str, name: str, rest: str) -> HttpResponse:
    """One file of a commit: its digests, what is inside, and where else the same bytes are."""
    frame, path = open_path(request, namespace, name, rest)
    files = File.objects.filter(commit=frame.commit, path=path).select_related("blob", "blob__header")
    if (file := files.first()) is None:
        raise Http404(f"{frame.repo.repo_id} has no file {path!r} at {frame.revision}.")
    visible = visible_repos(request.user).exclude(pk=frame.repo.pk)
    same = visible.filter(commits__files__blob=file.blob) if file.blob else visible.none()
    twins = same.distinct().order_by("repo_id")[:20]
    return render(request, "catalog/file.html", frame.context(
        "files", file=file, header=_header(file), twins=list(twins), crumbs=crumbs(frame, path)[:-1],
        name=path.rsplit("/", 1)[-1],
    ))  # fmt: skip


def _entries(frame: Frame, path: str) -> tuple[list[Folder], list[File]]:
    """The folders and files directly in `path`. One query over the paths below it."""
    prefix = f"{path}/" if path else ""
    below = File.objects.filter(commit=frame.commit, path__startswith=prefix).order_by("path")
    folders: dict[str, Folder] = {}
    files = []
    for file in below.select_related("blob").only("path", "size_bytes", "blob__verified_at", "commit_id"):
        if not file.path.startswith(prefix):  # SQLite's LIKE is blind to case
            continue
        first, _, inside = file.path[len(prefix) :].partition("/")
        if not inside:
            files.append(file)
            continue
        folder = folders.setdefault(first, Folder(first))
        folder.n_files += 1
        folder.size_bytes += file.size_bytes
        if file.blob is None:
            folder.n_upstream += 1
        else:
            folder.checked.append(file.blob.verified_at)
    return list(folders.values()), files


def _with_blobs(files: list[File]) -> list[File]:
    """The same files with blob and header, in the same order. One query."""
    rows = File.objects.filter(pk__in=[file.pk for file in files]).select_related("blob", "blob__header")
    return sorted(rows, key=lambda file: file.path)


def _header(file: File) -> Header | None:
    return cast("Header | None", getattr(file.blob, "header", None))


def crumbs(frame: Frame, path: str) -> list[tuple[str, str]]:
    """Each folder on the way to `path`, with its URL."""
    parts = path.split("/") if path else []
    return [(part, f"{frame.tree}/{quote('/'.join(parts[: place + 1]))}") for place, part in enumerate(parts)]
