"""The file itself: its digest, its header, its tensors. No engine is needed for these."""

import hashlib
from collections.abc import Sequence

from conversion.formats.errors import HeaderError
from conversion.formats.gguf import read_header
from conversion.formats.source import FileSource
from conversion.inference.checks.trial import Trial
from conversion.inference.tensors import inspect_tensors

HASH_BYTES = 8 * 2**20


def check_integrity(trial: Trial) -> None:
    with trial.report.check("integrity") as check:
        actual, expected = _hash(trial), trial.sha256
        trial.report.artifact["sha256"] = actual
        if expected is None:
            check.skip("no digest was given to compare with")
        elif actual != expected:
            check.fail(f"the bytes changed: sha256 is {actual}, expected {expected}", actual, expected)
        else:
            check.pass_("sha256 is the one recorded", actual)


def _hash(trial: Trial) -> str:
    digest, done, total = hashlib.sha256(), 0, max(1, trial.path.stat().st_size)
    with trial.path.open("rb") as file:
        while data := file.read(HASH_BYTES):
            digest.update(data)
            done += len(data)
            trial.on_progress("hashing", 0.1 * done / total)
    return digest.hexdigest()


def check_container(trial: Trial) -> None:
    with trial.report.check("container") as check, FileSource(trial.path) as source:
        try:
            trial.header = read_header(source)
        except HeaderError as error:
            check.fail(f"not a sound GGUF file: {error}", code=error.code)
            return
        architecture = str(trial.header.get("general.architecture", ""))
        n_tensors = len(trial.header.entries)
        trial.report.artifact |= {"architecture": architecture, "n_tensors": n_tensors}
        check.pass_(f"GGUF {trial.header.version}, {n_tensors} tensors, {architecture}")


def check_tensors(trial: Trial) -> None:
    trial.on_progress("tensors", 0.1)
    with trial.report.check("tensors") as check, FileSource(trial.path) as source:
        found = inspect_tensors(source, trial.header.entries)
        value = found.as_json()
        if found.not_finite:
            check.fail(f"NaN or infinity in {_some(found.not_finite)}", value, code="tensor-not-finite")
        elif found.all_zero:
            check.warn(f"nothing but zeros in {_some(found.all_zero)}", value)
        elif found.unread_types:
            check.pass_(
                f"{found.n_read} tensors hold finite values; not read: {_some(found.unread_types)}", value
            )
        else:
            check.pass_(f"all {found.n_read} tensors hold finite values", value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
