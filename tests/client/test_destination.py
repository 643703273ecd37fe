"""`--dest`: a plain folder, files under their own names, nothing else left behind and nothing outside it."""

from pathlib import Path

from tests.client.conftest import CARD, LARGE, SMALL
from tests.client.running import Home
from tests.client.server import HoldfastHub


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_gets_the_files_and_nothing_else(home: Home, model: str) -> None:
    result = home.ok("pull", "org/model", "--dest", "out")
    out = home.folder / "out"
    assert result.path == out
    assert "sub folder/vocab+é#1.txt" in names(out)
    assert len(names(out)) == 7
    assert (out / "model-00002-of-00002.safetensors").read_bytes() == LARGE
    assert not (out / ".holdfast").exists()
    assert not home.cache.exists()


def test_local_dir_and_d_mean_the_same(home: Home, model: str) -> None:
    assert home.ok("pull", "org/model//README.md", "-d", "a").path.read_bytes() == CARD
    assert home.ok("pull", "org/model//README.md", "--local-dir", "b").path.read_bytes() == CARD


def test_files_that_are_right_are_not_fetched_again(home: Home, hub: HoldfastHub, model: str) -> None:
    home.ok("pull", "org/model", "--dest", "out")
    hub.requests.clear()
    assert "here already" in home.ok("pull", "org/model", "--dest", "out").stderr
    assert hub.seen("resolve") == []


def test_another_file_of_that_name_is_never_replaced_unasked(home: Home, model: str) -> None:
    out = home.folder / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    error = home.fails("file_exists", "pull", "org/model", "--dest", "out")
    assert error["path"] == str(out / "README.md")
    assert names(out) == ["README.md"]
    home.ok("pull", "org/model", "--dest", "out", "--force")
    assert (out / "README.md").read_bytes() == CARD


def test_what_the_cache_holds_is_copied_and_not_fetched(home: Home, hub: HoldfastHub, model: str) -> None:
    home.ok("pull", "org/model")
    hub.requests.clear()
    home.ok("pull", "org/model", "--dest", "out")
    assert hub.seen("resolve") == []
    assert (home.folder / "out" / "model-00001-of-00002.safetensors").read_bytes() == SMALL
    home.ok("pull", "org/model", "--dest", "offline", "--offline")
    assert len(names(home.folder / "offline")) == 7


def test_a_damaged_cached_file_is_not_copied(home: Home, hub: HoldfastHub, model: str) -> None:
    cached = home.ok("pull", "org/model").path / "README.md"
    cached.resolve().write_bytes(bytes(len(CARD)))
    result = home.ok("pull", "org/model//README.md", "--dest", "out")
    assert result.path.read_bytes() == CARD
    assert "damaged" in result.stderr


def test_offline_a_damaged_cached_file_is_missing(home: Home, hub: HoldfastHub, model: str) -> None:
    cached = home.ok("pull", "org/model").path / "README.md"
    cached.resolve().write_bytes(bytes(len(CARD)))
    hub.requests.clear()
    error = home.fails("offline", "pull", "org/model//README.md", "--dest", "out", "--offline")
    assert error["missing"] == ["README.md"]
    assert hub.requests == []
    assert not (home.folder / "out" / "README.md").exists()


def test_equal_files_are_fetched_once_and_both_appear(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/twins", {"a.bin": SMALL, "deep/b.bin": SMALL})
    home.ok("pull", "org/twins", "--dest", "out")
    assert (home.folder / "out" / "deep" / "b.bin").read_bytes() == SMALL
    assert names(home.folder / "out") == ["a.bin", "deep/b.bin"]
    assert len(hub.seen("resolve")) == 1


def test_a_link_that_leads_out_of_the_folder_is_not_followed(home: Home, model: str) -> None:
    out, elsewhere = home.folder / "out", home.folder / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub folder").symlink_to(elsewhere)
    error = home.fails("unsafe_path", "pull", "org/model", "--dest", "out")
    assert error["path"] == "sub folder/vocab+é#1.txt"
    assert list(elsewhere.iterdir()) == []


def test_a_link_that_leads_out_of_a_snapshot_is_not_followed(home: Home, model: str) -> None:
    snapshot, elsewhere = home.cache / "models--org--model" / "snapshots" / model, home.folder / "elsewhere"
    snapshot.mkdir(parents=True)
    elsewhere.mkdir()
    (snapshot / "sub folder").symlink_to(elsewhere)
    home.fails("unsafe_path", "pull", "org/model")
    assert list(elsewhere.iterdir()) == []
