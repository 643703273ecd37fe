"""`holdfast freeze`: what is here, as a list that brings the same files back."""

import hashlib
from pathlib import Path

import pytest

from tests.client.calling import Caller
from tests.client.conftest import CARD, SMALL, noise
from tests.client.running import Home
from tests.client.server import HoldfastHub


@pytest.fixture
def home(hub: HoldfastHub, tmp_path: Path) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Caller(folder, hub.url)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(home: Home) -> dict[str, bytes]:
    """Every file of every snapshot."""
    found = home.cache.glob("models--*/snapshots/**/*")
    return {path.relative_to(home.cache).as_posix(): path.read_bytes() for path in found if path.is_file()}


def test_an_empty_cache_is_an_empty_list(home: Home) -> None:
    result = home.ok("freeze")
    assert (result.stdout, "0 models" in result.stderr) == ("", True)


def test_every_model_is_named_as_exactly_as_it_lies_here(home: Home, hub: HoldfastHub, quants: str) -> None:
    small = hub.add("org/small", {"README.md": CARD, "model.safetensors": SMALL})
    for reference in ("org/quants-GGUF:Q8_0", "org/small"):
        home.ok("pull", reference)
    assert home.ok("freeze").stdout.splitlines() == [
        f"org/quants-GGUF@{quants}:Q8_0 \\",
        f"    --hash sha256:{sha256(noise(80_000, 8))}",
        f"org/small@{small} \\",
        f"    --hash sha256:{min(sha256(CARD), sha256(SMALL))} \\",
        f"    --hash sha256:{max(sha256(CARD), sha256(SMALL))}",
    ]
    process = Home(home.folder, home.index_url)
    assert home.ok("freeze").stdout == process.ok("freeze", LC_ALL="C", PYTHONHASHSEED="3").stdout
    frozen = home.ok("freeze", "--json").json["models"]
    assert [one["requirement"] for one in frozen] == [f"org/quants-GGUF@{quants}:Q8_0", f"org/small@{small}"]


@pytest.mark.usefixtures("model", "quants")
@pytest.mark.parametrize("links", ["", "1"])
def test_a_pull_of_the_list_brings_the_same_files_back(
    home: Home, hub: HoldfastHub, tmp_path: Path, links: str
) -> None:
    strange = "sub [1]/a*b {x} ${HOME} 'q' #1.txt"
    hub.add("org/strange", {strange: b"1\n", "sub [1]/a*b2": b"2\n", "c.txt": b"3\n"})
    home.env["HF_HUB_DISABLE_SYMLINKS"] = links
    home.ok("pull", "org/quants-GGUF:F16", "org/model//sub folder", "org/quants-GGUF//README.md")
    home.ok("pull", "org/strange", "--exclude", "c.txt")
    frozen = home.ok("freeze").stdout
    again = Caller(tmp_path / "again", hub.url, home.env)
    again.folder.mkdir()
    (again.folder / "models.txt").write_text(frozen)
    again.ok("pull", "-r", "models.txt", "--require-hashes")
    assert contents(again) == contents(home)
    assert again.ok("freeze").stdout == frozen


def test_a_repo_of_several_models_comes_back_whole(
    home: Home, hub: HoldfastHub, quants: str, tmp_path: Path
) -> None:
    home.ok("pull", "org/quants-GGUF", "--include", "*")
    frozen = home.ok("freeze").stdout
    assert frozen.startswith(f"org/quants-GGUF@{quants} --include '*' \\\n") or "--include * \\" in frozen
    again = Caller(tmp_path / "again", hub.url)
    again.folder.mkdir()
    (again.folder / "models.txt").write_text(frozen)
    again.ok("pull", "-r", "models.txt")
    assert contents(again) == contents(home)


def test_a_name_that_is_no_text_adds_no_line(home: Home, hub: HoldfastHub, model: str) -> None:
    path = home.ok("pull", "org/model//README.md").path
    (path.parent / "a\n--index-url https:evil").write_bytes(b"x")
    frozen = home.ok("freeze").stdout
    assert not any(line.startswith("--index-url") for line in frozen.splitlines())
