"""The tensors of a file or of a whole checkpoint, from what inspection read in the headers."""

from typing import Any
from urllib.parse import quote

from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from registry.models import File, Tensor
from registry.views.frame import Frame, open_path, refuse_nul
from registry.views.paging import pages_of
from registry.views.variants import weight_files

PAGE = 100
MOST_KEYS = 200  # of a header's metadata on one page
LONGEST_VALUE = 400  # characters of one metadata value


def tensors(request: HttpRequest, namespace: str, name: str, rest: str = "") -> HttpResponse:
    """The tensors of one file, or of all weight files when no path is given. Paged; names filter with `?name=`."""
    if wanted := request.GET.get("revision"):
        return redirect(open_path(request, namespace, name, wanted)[0].tensors)
    frame, path = open_path(request, namespace, name, rest)
    if frame.commit is None:
        raise Http404(f"{frame.repo.repo_id} holds nothing yet.")
    weights = weight_files(frame.commit)
    chosen = [file for file in weights if file.path == path] if path else weights
    if path and not chosen:
        raise Http404(f"{frame.repo.repo_id} has no file {path!r} with tensors at {frame.revision}.")
    rows, asked = _rows(request, chosen)
    pages = pages_of(request, rows.count(), PAGE)
    shown = list(rows[pages.slice])
    by_blob = {file.blob_id: file for file in chosen}
    return render(request, "catalog/tensors.html", frame.context(
        "tensors", weights=weights, path=path, pages=pages, asked=asked, dtypes=_dtypes(chosen),
        tensors=[(tensor, by_blob[tensor.blob_id]) for tensor in shown],
        refused=[file for file in chosen if file.held.header.error_code],
        metadata=metadata_of(chosen[0]) if len(chosen) == 1 else [], only=chosen[0] if len(chosen) == 1 else None,
        n_tensors=sum(file.held.header.n_tensors for file in chosen), files_url=file_links(frame, weights),
    ))  # fmt: skip


def _rows(request: HttpRequest, files: list[File]) -> tuple[Any, dict[str, str]]:
    asked = {"name": request.GET.get("name", "").strip()[:200], "dtype": request.GET.get("dtype", "")[:20]}
    refuse_nul(asked["name"] + asked["dtype"])
    rows = Tensor.objects.filter(blob__in=[file.blob_id for file in files])
    if asked["name"]:
        rows = rows.filter(name__icontains=asked["name"])
    if asked["dtype"]:
        rows = rows.filter(dtype=asked["dtype"])
    return rows.order_by("blob", "position"), asked


def _dtypes(files: list[File]) -> list[tuple[str, int]]:
    """Each dtype or quantization type with the number of its tensors. One query."""
    rows = Tensor.objects.filter(blob__in=[file.blob_id for file in files]).order_by()
    return list(rows.values_list("dtype").annotate(number=Count("pk")).order_by("-number", "dtype"))


def file_links(frame: Frame, files: list[File]) -> list[tuple[str, str]]:
    return [(file.path, f"{frame.tensors}/{quote(file.path)}") for file in files]


def metadata_of(file: File) -> list[tuple[str, str]]:
    """The header's metadata keys and values as text, cut to what a page can hold."""
    pairs = list(file.held.header.metadata.items())[:MOST_KEYS]
    return [(str(key)[:200], _text(value)) for key, value in pairs]


def _text(value: Any) -> str:
    if isinstance(value, dict) and "length" in value:
        items = value.get("first", [])
        first = ", ".join(str(item) for item in items)
        if value["length"] == len(items):
            return first[:LONGEST_VALUE]
        return f"{value['length']} values of {value.get('type', 'an array')}: {first}…"[:LONGEST_VALUE]
    text = value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
