"""Where machine code is kept between processes; knows nothing of numba or LLVM, so that asking costs no import.

`<HOLDFAST_KERNEL_CACHE, or the user's cache folder>/<digest>/<cpu>/<type>.<action>.kernel`. The digest covers every
file of conversion/quants and the compiler's versions: a kernel and what it takes in from other files go stale together.
The CPU is in the path because machine code is for one CPU, and a folder may be shared between machines. Any folder in
it may be deleted at any time.

| a file has | what |
|---|---|
| one line | JSON: `kernel` and `cpu` as in its path, `symbol`, and the sha256 of the rest |
| the rest | an object file |

One that was cut, changed or moved there from elsewhere is as good as none. Whoever can write there can nevertheless run
code in every process that reads it: keep it as private as a home folder.
"""

import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
MAX_HEAD_BYTES = 4096


class MachineCode(NamedTuple):
    """The object file of a kernel, and the name in it of the function that is the kernel."""

    symbol: str
    image: bytes


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


def find(kernel: str, cpu: str) -> MachineCode | None:
    """What was kept of `kernel` (`q8_0.quantize`) for this CPU and the sources that this process began with."""
    root = cache_root()
    if root is None:
        return None
    try:
        data = (root / digest_of_sources() / cpu / f"{kernel}.kernel").read_bytes()
        head, _, image = data.partition(b"\n")
        found = json.loads(head[:MAX_HEAD_BYTES])
        symbol = str(found["symbol"])
        is_whole = found == _head(kernel, cpu, MachineCode(symbol, image))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return MachineCode(symbol, image) if is_whole else None


def keep(kernel: str, cpu: str, code: MachineCode) -> None:
    """Later processes find it, whole or not at all; nothing happens where no cache can be written.

    Nor once the sources are others than when this process began, as during an upgrade in place: what it has imported is
    then neither the old nor the new.
    """
    root = cache_root()
    if root is None or digest_of_files(PACKAGE) != AT_START:
        return
    import tempfile

    folder = root / digest_of_sources() / cpu
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            made = Path(beside, kernel)
            made.write_bytes(json.dumps(_head(kernel, cpu, code)).encode() + b"\n" + code.image)
            made.replace(folder / f"{kernel}.kernel")
    except OSError:
        return


def _head(kernel: str, cpu: str, code: MachineCode) -> dict[str, str]:
    sha256 = hashlib.sha256(code.image).hexdigest()
    return {"kernel": kernel, "cpu": cpu, "symbol": code.symbol, "sha256": sha256}


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
    return any((root / digest_of_sources()).glob(f"*/{kernel_name(name, action)}.kernel"))


def kernel_name(name: str, action: str) -> str:
    """`q8_0.quantize`: what a kernel is called on disk."""
    return f"{name.lower()}.{action}"


def _version(package: str) -> str:
    """What tells one release of a package from another, without importing it (importlib.metadata takes 30 ms)."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return "none"
    beside = Path(spec.origin).with_name("_version.py")
    return (beside if beside.is_file() else Path(spec.origin)).read_text()
