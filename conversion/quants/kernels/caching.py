"""Where machine code is kept between processes; knows nothing of numba, so that asking costs no import.

`<HOLDFAST_KERNEL_CACHE, or the user's cache folder>/<digest>/<cpu>/`. The digest covers every file of conversion/quants
and the compiler's versions, because numba itself looks only at the file that a kernel stands in: after a change to a
helper in another file it would run a stale, wrong kernel. The CPU is in the path because machine code is for one CPU,
and a folder may be shared between machines. Any folder in it may be deleted at any time.

Whoever can write there can run code in every process that reads it: keep it as private as a home folder.
"""

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def cache_root() -> Path | None:
    """The folder above all digests, which need not exist; None where a user has no home."""
    if os.environ.get("HOLDFAST_KERNEL_CACHE"):
        return Path(os.environ["HOLDFAST_KERNEL_CACHE"])
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "holdfast" / "kernels"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "holdfast" / "kernels"


def cache_folder(cpu: str) -> Path | None:
    """The folder for this CPU and these very sources, made and found writable; None if there can be none.

    None, too, once the sources are others than when this process began, as during an upgrade in place: what it has
    imported is then neither the old nor the new.
    """
    root = cache_root()
    if root is None or digest_of_files(PACKAGE) != AT_START:
        return None
    import tempfile

    folder = root / digest_of_sources() / cpu
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return folder


def digest_of_files(package: Path) -> str:
    """Changes with the name or content of any file of `package`; 4 ms."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


AT_START = digest_of_files(PACKAGE)


@cache
def digest_of_sources() -> str:
    """Changes with any file of the package, as this process found it, and with what compiles them."""
    return hashlib.sha256(f"{AT_START} {_version('numba')} {_version('llvmlite')}".encode()).hexdigest()[:32]


def is_cached(name: str, action: str) -> bool:
    """Whether machine code for this kernel lies in the cache, for this CPU or, rarely, only for another."""
    root = cache_root()
    if root is None:
        return False
    return any((root / digest_of_sources()).glob(f"*/*/{name.lower()}.{action}-*.nbi"))


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # 30 ms that work in numpy need not wait for

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
