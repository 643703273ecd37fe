"""Where else on this machine the wanted bytes may lie: other repos of the cache, the stores of other tools, and plain
folders that `holdfast cache adopt` has hashed.

| store              | where                                                       | how a file is found               |
|--------------------|-------------------------------------------------------------|-----------------------------------|
| Hugging Face cache | HF_HOME, XDG_CACHE_HOME, ~/.cache/huggingface, and our own  | `models--*/blobs/<digest>`        |
| Ollama             | OLLAMA_MODELS, ~/.ollama/models, the service's own          | `blobs/sha256-<digest>`           |
| LM Studio          | ~/.lmstudio/models, ~/.cache/lm-studio/models               | `<org>/<name>/<file>` and the size|
| llama.cpp          | LLAMA_CACHE, ~/.cache/llama.cpp, ~/Library/Caches/llama.cpp | `<org>_<name>_<file>` and the size|
| what was adopted   | the index file, see `Adopted`                               | size, time and inode are the same |

Looking costs a few `stat` calls. A name is a claim and no more: whoever takes such a file hashes it first. Only regular
files are ever named, and nothing here writes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from holdfast.cache.adopting import MIN_BYTES, read_adopted
from holdfast.cache.layout import REPO_PREFIX
from holdfast.sources.remote import RemoteFile

HUGGING_FACE, OLLAMA, LM_STUDIO, LLAMA_CPP = "Hugging Face cache", "Ollama", "LM Studio", "llama.cpp"
_OLLAMA_SERVICE = "/usr/share/ollama/.ollama/models"  # where its installer on Linux puts the service's own


@dataclass(frozen=True)
class Store:
    """A folder in which another tool keeps models."""

    kind: str
    folder: Path


def known_stores(cache_dir: Path, environ: Mapping[str, str]) -> list[Store]:
    """Those that exist, without our own cache, each once."""
    found: dict[str, Store] = {}
    for store in _usual_stores(environ):
        real = os.path.realpath(store.folder)
        if real != os.path.realpath(cache_dir) and store.folder.is_dir():
            found.setdefault(real, store)
    return list(found.values())


def _usual_stores(environ: Mapping[str, str]) -> Iterator[Store]:
    home = Path.home()
    caches = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            yield Store(HUGGING_FACE, Path(environ[name]).expanduser())
    for folder in (environ.get("HF_HOME"), caches / "huggingface", home / ".cache" / "huggingface"):
        if folder:
            yield Store(HUGGING_FACE, Path(folder).expanduser() / "hub")
    for folder in (environ.get("OLLAMA_MODELS"), home / ".ollama" / "models", _OLLAMA_SERVICE):
        if folder:
            yield Store(OLLAMA, Path(folder).expanduser() / "blobs")
    for folder in (home / ".lmstudio" / "models", caches / "lm-studio" / "models"):
        yield Store(LM_STUDIO, folder)
    for folder in (environ.get("LLAMA_CACHE"), caches / "llama.cpp", home / "Library/Caches/llama.cpp"):
        if folder:
            yield Store(LLAMA_CPP, Path(folder).expanduser())


class Holdings:
    """Everything on this machine that may hold wanted bytes. What costs a listing is listed once, when first needed."""

    def __init__(self, cache_dir: Path, environ: Mapping[str, str]) -> None:
        self._cache_dir = cache_dir
        self._environ = environ

    def find_copies(self, repo_id: str, file: RemoteFile) -> list[Path]:
        """Regular files that claim to be this one, the likeliest first. None of them is verified.

        Small files are fetched sooner than found: for them there are none.
        """
        found: dict[str, Path] = {}
        if file.size_bytes < MIN_BYTES:
            return []
        for path in self._claims(repo_id, file):
            real = os.path.realpath(path)
            if real not in found and _is_regular(real, file.size_bytes):
                found[real] = Path(real)
        return list(found.values())

    def _claims(self, repo_id: str, file: RemoteFile) -> Iterator[Path]:
        yield from self._blobs.get(file.etag, ())
        if file.sha256 is None:
            return  # outside LFS: no other store knows the digest
        yield from self._adopted.get(file.sha256, ())
        for store in self._stores:
            yield from _named(store, repo_id, file)

    @cached_property
    def _stores(self) -> list[Store]:
        return known_stores(self._cache_dir, self._environ)

    @cached_property
    def _blobs(self) -> Mapping[str, list[Path]]:
        """Of all Hugging Face caches, by name: one listing is cheaper than a look into a thousand repos per file."""
        caches = [store.folder for store in self._stores if store.kind == HUGGING_FACE]
        found: dict[str, list[Path]] = {}
        for cache in (self._cache_dir, *caches):
            for folder in blob_folders(cache):
                for name in _names_in(folder):
                    found.setdefault(name, []).append(folder / name)
        return found

    @cached_property
    def _adopted(self) -> Mapping[str, list[Path]]:
        return read_adopted(self._environ).by_digest()


def blob_folders(cache_dir: Path) -> list[Path]:
    """The `blobs` of every model repo in a Hugging Face cache."""
    try:
        with os.scandir(cache_dir) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith(REPO_PREFIX))
    except OSError:
        return []
    return [cache_dir / name / "blobs" for name in names]


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def _named(store: Store, repo_id: str, file: RemoteFile) -> Iterator[Path]:
    name = file.path.rpartition("/")[2]
    if store.kind == OLLAMA:
        yield store.folder / f"sha256-{file.sha256}"
    elif store.kind == LM_STUDIO:
        yield store.folder / repo_id / file.path
        yield store.folder / repo_id / name
    elif store.kind == LLAMA_CPP:
        yield store.folder / f"{repo_id.replace('/', '_')}_{name}"


def _is_regular(path: str, size_bytes: int) -> bool:
    try:
        status = os.stat(path)  # noqa: PTH116 - a string, a thousand times
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes
