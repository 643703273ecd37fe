"""`sha256:` and `file://`: bytes by their digest, and models in a folder."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import CONFIG, SMALL
from tests.client.running import Home
from tests.client.server import HoldfastHub

SHARD = "model-00001-of-00002.safetensors"


def tell(hub: HoldfastHub, commit: str, path: str, data: bytes, **more: Any) -> str:
    """The index says that these bytes are that file; their digest."""
    digest = hashlib.sha256(data).hexdigest()
    place = {"repo_id": "org/model", "repo_type": "model", "commit": commit, "is_head": True, "path": path}
    hub.tells[f"/api/holdfast/v1/files/{digest}"] = {"sha256": digest, "files": [{**place, **more}]}
    return digest


@pytest.mark.parametrize(("path", "data"), [(SHARD, SMALL), ("config.json", CONFIG)])
def test_bytes_are_pulled_by_their_digest(
    home: Home, hub: HoldfastHub, model: str, path: str, data: bytes
) -> None:
    digest = tell(hub, model, path, data)
    result = home.ok("pull", f"sha256:{digest.upper()}")
    assert (result.path.name, result.path.read_bytes()) == (path, data)


@pytest.mark.parametrize(("path", "data"), [(SHARD, SMALL), ("config.json", CONFIG)])
def test_an_index_that_names_other_bytes_is_refused(
    home: Home, hub: HoldfastHub, model: str, path: str, data: bytes
) -> None:
    digest = tell(hub, model, path, data + b"other")
    home.fails("hash_mismatch", "pull", f"sha256:{digest}")
    assert data not in home.blobs().values()


def test_a_later_index_is_asked_for_what_it_knows(home: Home, hub: HoldfastHub, model: str) -> None:
    digest = tell(hub, model, SHARD, SMALL)
    with HoldfastHub() as first:
        result = home.ok("pull", f"sha256:{digest}", "-i", first.url, "--extra-index-url", hub.url, "--json")
        assert result.json["pulled"][0]["index"] == hub.url


def test_bytes_that_nobody_knows_are_not_found(home: Home, hub: HoldfastHub, model: str) -> None:
    home.fails("not_found", "pull", "sha256:" + "a" * 64, exit_code=23)
    home.fails("offline", "pull", "sha256:" + "a" * 64, "--offline")
    home.fails("usage", "check", "sha256:" + "a" * 64, exit_code=2)
    digest = tell(hub, model, SHARD, SMALL, repo_type="dataset")
    home.fails("not_found", "pull", f"sha256:{digest}", exit_code=23)


def test_a_model_in_a_folder_is_pulled_by_its_address(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "disk 1" / "org" / "name"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(CONFIG).hexdigest()}  config.json\n")
    address = f"{(tmp_path / 'disk 1').as_uri()}/org/name"
    assert (home.ok("pull", address).path / "config.json").read_bytes() == CONFIG
    assert home.ok("show", address, "--json").json["size_bytes"] == len(CONFIG)
    assert "main" in home.ok("index", "versions", address).stdout
    home.fails("bad_answer", "pull", f"{(tmp_path / 'none').as_uri()}/org/name")
