"""The probe finds what a store lacks: real stores pass, stores that lie in one way are caught in that way."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from mirror.blobs import BlobStore
from mirror.blobs.directory import DirectoryStore
from mirror.blobs.probe import Finding, probe
from mirror.blobs.store import Staged
from tests.services.deployment import Deployment


def missing(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings if finding.is_fatal}


def test_a_real_store_lacks_nothing_that_is_needed_and_is_left_as_it_was(store: BlobStore) -> None:
    store.put("catalog/mine", b"untouched")
    findings = list(probe(store))
    for finding in findings:
        assert finding.detail
        assert finding.consequence.endswith(".")
        assert finding.remedy.endswith(".")
    assert missing(findings) == set(), [finding for finding in findings if finding.is_fatal]
    assert len(findings) == (19 if store.name == "directory" else 28)
    assert [stat.key for stat in store.list("")] == ["catalog/mine"]
    assert list(store.staged_names()) == []


class Overwriting(DirectoryStore):
    """Like a gateway that ignores If-None-Match."""

    def put(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        super().put(key, data, replace=True)
        return True


class Trusting(DirectoryStore):
    """Like a store that believes whatever digest it is told."""

    def promote(self, staged: Staged, key: str, *, sha256: str, size_bytes: int) -> bool:
        digests = staged.finish()
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes((self.incoming / staged.name).read_bytes())
        staged.discard()
        return digests.size_bytes == size_bytes


class Truncating(DirectoryStore):
    """Like a server that ignores the Range header."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        with super().open(key) as reader:
            return BytesIO(reader.read())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Overwriting, "put if absent"),
        (Overwriting, "put if absent, 16 at once"),
        (Trusting, "wrong digest is refused"),
        (Truncating, "ranges outside are refused"),
    ],
)
def test_a_store_that_lies_is_caught(tmp_path: Path, kind: type[DirectoryStore], expected: str) -> None:
    assert expected in missing(list(probe(kind(tmp_path / "store"))))


# --- the command -----------------------------------------------------------------------------------------------


def test_check_storage_passes_on_the_configured_store(deployment: Deployment) -> None:
    findings = deployment.manage_json("check_storage")
    assert not [finding for finding in findings if finding["is_fatal"]]
    text = deployment.manage("check_storage").stdout
    assert "it can be used" in text
    assert "put if absent" in text


def test_check_storage_tells_consequence_and_remedy_and_exits_1(
    deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = deployment.manage("check_storage", "--url", f"file://{tmp_path}/file/store", check=False)
    assert done.returncode == 1
    assert "MISSING" in done.stdout
    assert "So: Holdfast cannot keep bytes here." in done.stdout.replace("\n", " ").replace("  ", " ")
    assert "Traceback" not in done.stderr


def test_check_storage_refuses_a_url_it_cannot_read(deployment: Deployment) -> None:
    done = deployment.manage("check_storage", "--url", "ftp://somewhere", check=False)
    assert done.returncode == 1
    assert "no blob store is called 'ftp'" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_blob_store_needs_neither_django_nor_boto3() -> None:
    """Light to import; and a directory store works where boto3 is not installed."""
    code = "import sys, mirror.blobs.directory; sys.exit(bool({'django', 'boto3'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
