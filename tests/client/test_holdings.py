"""What this machine holds already is linked after it was hashed, not fetched; and nobody's files are harmed by it."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.client.conftest import LARGE, noise
from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.client.stores import lm_studio, ollama

MODEL = noise(1_500_000, 40)
NOTHING_MATCHED = 23


@pytest.fixture
def gguf(hub: HoldfastHub) -> str:
    """org/gguf: one GGUF model. Returns its commit."""
    return hub.add("org/gguf", {"gguf-Q8_0.gguf": MODEL, "README.md": b"# hello\n"})


def same_file(one: Path, other: Path) -> bool:
    return one.resolve().samefile(other)


def test_ollama_s_blob_is_linked_and_not_fetched(home: Home, hub: HoldfastHub, gguf: str) -> None:
    (blob,) = ollama(home.folder, MODEL)
    result = home.ok("pull", "org/gguf:Q8_0")
    assert "here      1.5 MB  gguf-Q8_0.gguf" in result.stderr
    assert "1 file, 1.5 MB: 0 B to fetch, 1.5 MB elsewhere on this machine" in result.stderr
    assert hub.seen("resolve") == []
    assert same_file(result.path, blob)
    assert "all good" in home.ok("check").stderr
    assert home.leftovers() == []


def test_what_was_linked_outlives_the_other_tool_and_the_other_way_round(home: Home, gguf: str) -> None:
    (blob,) = ollama(home.folder, MODEL)
    path = home.ok("pull", "org/gguf:Q8_0").path
    assert "; 1.5 MB stay under names outside the cache" in home.ok("remove", "org/gguf", "--dry-run").stderr
    home.ok("remove", "org/gguf")
    assert blob.read_bytes() == MODEL
    path = home.ok("pull", "org/gguf:Q8_0").path
    blob.unlink()
    assert path.read_bytes() == MODEL


def test_a_blob_that_is_not_what_it_claims_is_fetched_and_left_as_it_was(
    home: Home, hub: HoldfastHub, gguf: str
) -> None:
    (blob,) = ollama(home.folder, MODEL)
    other = noise(len(MODEL), 41)
    blob.write_bytes(other)
    result = home.ok("pull", "org/gguf:Q8_0")
    assert "sha256-" in result.stderr
    assert "is damaged: it is not gguf-Q8_0.gguf, which is fetched instead" in result.stderr
    assert result.path.read_bytes() == MODEL
    assert blob.read_bytes() == other
    assert home.leftovers() == []


def test_lm_studio_and_llama_cpp_are_found_by_name_and_size(home: Home, hub: HoldfastHub, gguf: str) -> None:
    theirs = lm_studio(home.folder, "org/gguf", "gguf-Q8_0.gguf", MODEL)
    assert same_file(home.ok("pull", "org/gguf:Q8_0").path, theirs)
    home.ok("remove", "org/gguf")
    folder = home.folder / "llama"
    folder.mkdir()
    theirs.rename(folder / "org_gguf_gguf-Q8_0.gguf")
    path = home.ok("pull", "org/gguf:Q8_0", LLAMA_CACHE=str(folder)).path
    assert same_file(path, folder / "org_gguf_gguf-Q8_0.gguf")
    assert hub.seen("resolve") == []


def test_another_hugging_face_cache_and_another_repo_are_found_by_digest(
    home: Home, hub: HoldfastHub, gguf: str
) -> None:
    hub.add("org/copy", {"weights.gguf": MODEL})
    first = home.ok("pull", "org/gguf:Q8_0").path
    assert same_file(home.ok("pull", "org/copy").path / "weights.gguf", first.resolve())
    elsewhere = home.ok("pull", "org/copy", "--cache-dir", "other").path / "weights.gguf"
    assert same_file(elsewhere, first.resolve())
    assert len(hub.seen("resolve")) == 1
    assert home.ok("cache", "info", "--json").json["size_bytes"] == len(MODEL)


def test_offline_what_is_elsewhere_suffices(home: Home, gguf: str) -> None:
    home.ok("pull", "org/gguf//README.md")
    home.fails("offline", "pull", "org/gguf:Q8_0", "--offline")
    (blob,) = ollama(home.folder, noise(len(MODEL), 44))
    blob.rename(blob.with_name(f"sha256-{hashlib.sha256(MODEL).hexdigest()}"))
    home.fails("offline", "pull", "org/gguf:Q8_0", "--offline")
    blob.with_name(f"sha256-{hashlib.sha256(MODEL).hexdigest()}").write_bytes(MODEL)
    pulled = home.ok("pull", "org/gguf:Q8_0", "--offline", "--json").json["pulled"][0]
    assert (Path(pulled["path"]).read_bytes(), pulled["files"][0]["state"]) == (MODEL, "linked")


def test_nothing_is_adopted_when_told_not_to_and_copied_only_when_told_to(
    home: Home, hub: HoldfastHub, gguf: str
) -> None:
    (blob,) = ollama(home.folder, MODEL)
    assert not same_file(home.ok("pull", "org/gguf:Q8_0", "--no-adopt").path, blob)
    home.ok("remove", "org/gguf")
    hub.requests.clear()
    path = home.ok("pull", "org/gguf:Q8_0", "--link-mode", "copy").path
    assert hub.seen("resolve") == []
    assert not same_file(path, blob)
    assert path.read_bytes() == MODEL


def test_a_link_or_a_pipe_under_the_right_name_is_no_copy(home: Home, hub: HoldfastHub, gguf: str) -> None:
    (blob,) = ollama(home.folder, MODEL)
    blob.unlink()
    os.mkfifo(blob)
    assert home.ok("pull", "org/gguf:Q8_0").path.read_bytes() == MODEL
    home.ok("remove", "org/gguf")
    blob.unlink()
    blob.symlink_to("/dev/zero")
    assert home.ok("pull", "org/gguf:Q8_0").path.read_bytes() == MODEL
    assert len(hub.seen("resolve")) == 2


def test_a_killed_adoption_never_leads_to_a_write_into_the_other_store(
    home: Home, hub: HoldfastHub, gguf: str
) -> None:
    """What a kill leaves is a hard link under a name that no pull writes to; the next run replaces it."""
    (blob,) = ollama(home.folder, MODEL)
    sha256 = hashlib.sha256(MODEL).hexdigest()
    blobs = home.cache / "models--org--gguf" / "blobs"
    blobs.mkdir(parents=True)
    os.link(blob, blobs / f"{sha256}.holdfast.adopting")
    hub.add("org/gguf", {"gguf-Q8_0.gguf": noise(1_500_000, 42)})
    home.ok("pull", "org/gguf:Q8_0", "--no-adopt")
    assert blob.read_bytes() == MODEL
    home.ok("pull", f"org/gguf@{gguf}:Q8_0")
    assert not (blobs / f"{sha256}.holdfast.adopting").exists()
    assert blob.read_bytes() == MODEL


def test_adopt_hashes_once_and_later_pulls_link(home: Home, hub: HoldfastHub, gguf: str) -> None:
    folder = home.folder / "downloads" / "deep"
    folder.mkdir(parents=True)
    (folder / "some name.bin").write_bytes(MODEL)
    (folder / "small.txt").write_bytes(b"x")
    (folder / "link.bin").symlink_to("some name.bin")
    shown = home.ok("cache", "adopt", "downloads", "--dry-run")
    assert "1 file, 1.5 MB: Dry run: nothing was read" in shown.stderr
    first = home.ok("cache", "adopt", "downloads")
    assert first.stdout == f"{hashlib.sha256(MODEL).hexdigest()}  {folder}/some name.bin\n"
    assert "1 hashed, 0 known already" in first.stderr
    assert "0 hashed, 1 known already" in home.ok("cache", "adopt", "downloads").stderr
    path = home.ok("pull", "org/gguf:Q8_0").path
    assert same_file(path, folder / "some name.bin")
    assert hub.seen("resolve") == []


def test_a_file_that_changed_since_is_not_believed(home: Home, hub: HoldfastHub, gguf: str) -> None:
    folder = home.folder / "downloads"
    folder.mkdir()
    (folder / "a.bin").write_bytes(MODEL)
    home.ok("cache", "adopt", "downloads")
    (folder / "a.bin").write_bytes(noise(len(MODEL), 43))
    assert home.ok("pull", "org/gguf:Q8_0").path.read_bytes() == MODEL
    assert len(hub.seen("resolve")) == 1
    assert "1 hashed" in home.ok("cache", "adopt", "downloads").stderr


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format_version": 9}', '{"format_version": 1, "files": {"x": 3}}']
)
def test_an_index_file_that_cannot_be_read_is_as_none(home: Home, gguf: str, text: str) -> None:
    index = home.folder / ".cache" / "holdfast" / "holdings.json"
    index.parent.mkdir(parents=True)
    index.write_text(text)
    home.ok("cache", "adopt", str(index.parent))
    assert json.loads(index.read_text())["files"] == {}


def test_adopt_without_a_folder_takes_what_no_name_tells(home: Home, hub: HoldfastHub) -> None:
    hub.add("other/name", {"renamed.gguf": MODEL})
    theirs = lm_studio(home.folder, "org/gguf", "gguf-Q8_0.gguf", MODEL)
    home.ok("cache", "adopt")
    assert same_file(home.ok("pull", "other/name").path / "renamed.gguf", theirs)
    home.fails("not_found", "cache", "adopt", "nowhere", exit_code=NOTHING_MATCHED)


def test_a_plain_folder_gets_a_copy_unless_told_otherwise(home: Home, hub: HoldfastHub, gguf: str) -> None:
    cached = home.ok("pull", "org/gguf:Q8_0").path.resolve()
    hub.requests.clear()
    copied = home.ok("pull", "org/gguf:Q8_0", "--dest", "a").path
    linked = home.ok("pull", "org/gguf:Q8_0", "--dest", "b", "--link-mode", "hardlink").path
    assert (same_file(copied, cached), same_file(linked, cached)) == (False, True)
    assert hub.seen("resolve") == []
    with copied.open("r+b") as file:
        file.write(b"edited")
    assert "all good" in home.ok("check").stderr


def test_a_reflink_that_the_disk_cannot_make_is_fetched(home: Home, hub: HoldfastHub, gguf: str) -> None:
    cached = home.ok("pull", "org/gguf:Q8_0").path.resolve()
    path = home.ok("pull", "org/gguf:Q8_0", "--dest", "a", "--link-mode", "reflink").path
    assert path.read_bytes() == MODEL
    assert not same_file(path, cached)
    assert not (home.folder / "a" / ".holdfast").exists()


def test_another_disk_is_no_reason_to_fail(home: Home, hub: HoldfastHub, gguf: str) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == home.folder.stat().st_dev:
        pytest.skip("there is one disk here")
    folder = shared / f"holdfast-{os.getpid()}"
    try:
        (folder / "blobs").mkdir(parents=True)
        (folder / "blobs" / f"sha256-{hashlib.sha256(MODEL).hexdigest()}").write_bytes(MODEL)
        assert home.ok("pull", "org/gguf:Q8_0", OLLAMA_MODELS=str(folder)).path.read_bytes() == MODEL
        assert len(hub.seen("resolve")) == 1
    finally:
        shutil.rmtree(folder)


def test_large_files_outside_lfs_come_from_other_caches_too(home: Home, hub: HoldfastHub) -> None:
    """A hub lists them by git's name, and that is what is compared."""
    text = b"0123456789abcde\n" * 100_000
    hub.add("org/one", {"vocab.txt": text})
    hub.add("org/two", {"vocab.txt": text})
    first = home.ok("pull", "org/one//vocab.txt").path
    assert same_file(home.ok("pull", "org/two//vocab.txt").path, first.resolve())
    assert len(LARGE) > len(text) > 1 << 20
