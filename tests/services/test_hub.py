"""The hub we test against is one that the official client accepts."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from tests.services.hub import Hub

FILES = {"config.json": b"{}", "deep/er/notes.txt": b"hello", "model.safetensors": bytes(range(256)) * 5000}


@pytest.fixture
def hub() -> Hub:
    with Hub(page_size=2) as running:
        running.add("org/model", FILES)
        yield running


def test_the_official_client_downloads_every_file_unchanged(hub: Hub, tmp_path: Path) -> None:
    folder = snapshot_download("org/model", endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert {path: (Path(folder) / path).read_bytes() for path in FILES} == FILES
    assert Path(folder).name == hub.repos["org/model"].branches["main"]


def test_the_official_client_reads_the_listing_over_several_pages(hub: Hub) -> None:
    listed = HfApi(hub.url, token=False).list_repo_tree("org/model", recursive=True)
    files = {item.path: item for item in listed if hasattr(item, "blob_id")}
    assert set(files) == set(FILES)
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(FILES["model.safetensors"]).hexdigest()


def test_the_official_client_understands_the_errors(hub: Hub) -> None:
    api = HfApi(hub.url, token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/model", revision="none")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("org/model", "none.txt")


def test_a_range_and_a_cut_arrive_as_asked(hub: Hub) -> None:
    url = f"{hub.url}/org/model/resolve/main/model.safetensors"
    answer = urllib3.request("GET", url, headers={"Range": "bytes=5-9"})
    assert (answer.status, answer.data, answer.headers["Content-Range"]) == (
        206, FILES["model.safetensors"][5:10], "bytes 5-9/1280000",
    )  # fmt: skip
    hub.fault("cut", at=100, times=1)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        urllib3.request("GET", url, retries=False)
    assert len(urllib3.request("GET", url).data) == 1280000
    assert [seen.path for seen in hub.seen("resolve")] == ["model.safetensors"] * 3


def test_it_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    (tmp_path / "org" / "model" / "config.json").write_bytes(b"{}")
    command = [sys.executable, "-m", "tests.services.hub", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        try:
            assert urllib3.request("GET", f"{url}/org/model/resolve/main/config.json").data == b"{}"
        finally:
            process.terminate()
