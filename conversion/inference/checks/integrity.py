"""The bytes are those that were recorded, and our own strict readers accept every header. No engine is needed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.inference.checks.trial import Trial
from conversion.inference.provisions import needed_files
from conversion.inference.report import Check
from conversion.inference.subjects import look_at, subject_of
from conversion.naming import NamingError

HASH_BYTES = 8 * 2**20


def check_integrity(trial: Trial) -> None:
    with trial.report.check("integrity") as check:
        digests = _hash(trial)
        if changed := _changed(trial, digests):
            name, actual, expected = changed
            check.fail(f"the bytes changed: sha256 of {name} is {actual}, expected {expected}", actual, expected,
                       code="bytes-changed")  # fmt: skip
            return
        _read_headers(trial, check)
        if check.verdict == "skipped":
            compared = "sha256 is the one recorded" if trial.sha256 else "no digest was given to compare with"
            check.pass_(f"{_container(trial)}; {compared}", trial.report.artifact["sha256"])


def _hash(trial: Trial) -> dict[str, str]:
    """File -> sha256. The report has them all, and for several one over their list, as `sha256sum` prints it."""
    files = sorted(file for file in trial.path.rglob("*") if file.is_file()) or needed_files(trial.path)
    total, done, digests = max(1, trial.report.artifact["size_bytes"]), 0, {}
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while data := file.read(HASH_BYTES):
                digest.update(data)
                done += len(data)
                trial.on_progress("hashing", 0.1 * min(1.0, done / total))
        digests[_name(trial.path, path)] = digest.hexdigest()
    if trial.path.is_dir() or len(digests) > 1:
        trial.report.artifact["files"] = digests
        listing = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        trial.report.artifact["sha256"] = hashlib.sha256(listing.encode()).hexdigest()
    else:
        trial.report.artifact["sha256"] = digests[trial.path.name]
    return digests


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if root.is_dir() else path.name


def _changed(trial: Trial, digests: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The first file whose digest is not the recorded one: name, actual, expected."""
    recorded = trial.sha256
    if isinstance(recorded, str):
        recorded = {trial.path.name: recorded}
    for name, expected in (recorded or {}).items():
        if (actual := digests.get(name, "that of no file")) != expected:
            return name, actual, expected
    return None


def _read_headers(trial: Trial, check: Check) -> None:
    """`trial.look` and `trial.subject` are set, or a check failed: completeness for files that do not fit together."""
    try:
        trial.look = look_at(trial.path, trial.stack)
    except (HeaderError, NamingError) as error:
        is_whole = not error.code.startswith(("ck-", "bad-config"))
        what = {".gguf": "GGUF file", ".onnx": "ONNX file"}.get(trial.path.suffix, "checkpoint")
        failed = check if is_whole else trial.report.checks["completeness"]
        failed.fail(f"not a sound {what}: {error}" if is_whole else str(error), code=error.code)
        if not is_whole:
            check.pass_("sha256 is the one recorded" if trial.sha256 else "the bytes could be read")
        return
    trial.subject = trial.report.subject = subject_of(trial.look)
    trial.report.artifact |= {
        "architecture": trial.subject.architecture,
        "n_tensors": len(trial.look.weights.entries),
    }


def _container(trial: Trial) -> str:
    version = f" {trial.header.version}" if trial.header else ""
    facts = [f"{trial.subject.container}{version}", f"{len(trial.look.weights.entries)} tensors"]
    return ", ".join([*facts, trial.subject.architecture] if trial.subject.architecture else facts)
