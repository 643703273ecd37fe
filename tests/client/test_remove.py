"""`holdfast remove`: what is named goes, what others share stays, and nothing outside the cache is touched."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.client.conftest import CONFIG, SMALL, noise
from tests.client.running import COMMAND, Home, kill, wait_until
from tests.client.server import HoldfastHub
from tests.client.stores import put

NOTHING_MATCHED = 23


@pytest.fixture
def two(home: Home, hub: HoldfastHub) -> tuple[str, str]:
    """org/two at two commits that share config.json: `old` is tagged v1, `new` is main and v2. Returns both."""
    old_files = {"config.json": CONFIG, "a.safetensors": SMALL}
    new_files = {"config.json": CONFIG, "a.safetensors": noise(200_000, 9)}
    old, new = hub.add("org/two", old_files), hub.add("org/two", new_files)
    put(home.cache, "org/two", old, old_files, "v1")
    put(home.cache, "org/two", new, new_files, "main", "v2")
    return old, new


def commits(home: Home) -> list[str]:
    return [path.name for path in sorted(home.cache.glob("models--*/snapshots/*"))]


def refs(home: Home) -> list[str]:
    folder = home.cache / "models--org--two" / "refs"
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_repo_goes_with_everything_of_it(home: Home, two: tuple[str, str], model: str) -> None:
    home.ok("pull", "org/model//README.md")
    result = home.ok("remove", "org/two")
    assert "org/two  all: 2 commits, 3 refs, 4 files  500.0 kB" in result.stderr
    assert "Removed from 1 repo: 500.0 kB freed." in result.stderr
    assert result.stdout == ""
    assert not (home.cache / "models--org--two").exists()
    assert not (home.cache / ".locks" / "models--org--two").exists()
    assert commits(home) == [model]


def test_a_commit_goes_and_what_the_other_shares_stays(home: Home, two: tuple[str, str]) -> None:
    old, new = two
    removed = home.ok("uninstall", f"org/two@{old[:9]}", "--json").json
    assert (removed["freed_bytes"], removed["removed"][0]["refs"]) == (len(SMALL), ["v1"])
    assert (commits(home), refs(home)) == ([new], ["main", "v2"])
    assert "all good" in home.ok("check").stderr
    assert home.ok("pull", "org/two", "--offline").path.name == new


def test_a_ref_goes_alone_while_another_names_its_commit(home: Home, two: tuple[str, str]) -> None:
    home.ok("rm", "org/two@v2")
    assert (len(commits(home)), refs(home)) == (2, ["main", "v1"])
    home.ok("rm", "org/two@main")
    assert (commits(home), refs(home)) == ([two[0]], ["v1"])


def test_a_variant_or_a_path_goes_alone(home: Home, quants: str) -> None:
    home.ok("pull", "org/quants-GGUF:F16")
    home.ok("pull", "org/quants-GGUF:q8_0")
    home.ok("pull", "org/quants-GGUF//README.md")
    assert home.ok("remove", "org/quants-GGUF:f16", "--json").json["freed_bytes"] == 160_000
    home.ok("remove", "org/quants-GGUF//README.md")
    (left,) = home.ok("list", "--json").json["snapshots"]
    assert (left["variants"], left["files"]) == (["Q8_0"], 1)
    assert not (Path(left["path"]) / "F16").exists()
    home.ok("remove", "org/quants-GGUF:Q8_0")
    assert not (home.cache / "models--org--quants-GGUF").exists()


def test_a_variant_of_another_repo_is_found_by_the_words_that_pulled_it(
    home: Home, hub: HoldfastHub, model: str, quants: str
) -> None:
    hub.add("org/model-GGUF", {"model-Q8_0.gguf": SMALL})
    hub.offer("org/model", "Q8_0", "org/model-GGUF", "model-Q8_0.gguf")
    pulled = home.ok("pull", "org/model:Q8_0")
    assert home.ok("pull", "org/model:q8_0", "--offline").path == pulled.path
    assert "Checked 1 file" in home.ok("check", "org/model:Q8_0").stderr
    assert home.run("remove", "org/model:Q4_0").code == NOTHING_MATCHED
    home.ok("remove", "org/model:Q8_0")
    assert not pulled.path.exists()


def test_a_format_means_its_weights(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/both", {"config.json": CONFIG, "a.safetensors": SMALL, "a.bin": noise(5000)})
    path = home.ok("pull", "org/both").path
    home.ok("remove", "org/both:pytorch")
    assert sorted(entry.name for entry in path.iterdir()) == ["a.safetensors", "config.json"]


def test_a_dry_run_changes_nothing_and_shows_all(home: Home, two: tuple[str, str]) -> None:
    before = sorted(home.cache.rglob("*"))
    result = home.ok("remove", "org/two", "--dry-run")
    assert result.stdout.splitlines()[1].split()[-2:] == ["500.0", "kB"]
    assert "nothing was removed; 500.0 kB would be freed" in result.stderr
    assert sorted(home.cache.rglob("*")) == before


def test_one_unknown_name_stops_all(home: Home, two: tuple[str, str]) -> None:
    for unknown in (
        "org/nothing",
        "org/two@v9",
        f"org/two@{two[0][:6]}",
        "org/two:Q4_K_M",
        "org/two//no.txt",
    ):
        home.fails("not_found", "remove", "org/two", unknown, exit_code=NOTHING_MATCHED)
    assert len(commits(home)) == 2


def test_two_commits_named_at_once_free_what_they_share(home: Home, two: tuple[str, str]) -> None:
    removed = home.ok("remove", *(f"org/two@{commit}" for commit in two), "--json").json
    assert removed["freed_bytes"] == 500_000 + len(CONFIG)
    assert not (home.cache / "models--org--two").exists()


def test_what_is_being_pulled_is_not_removed(home: Home, hub: HoldfastHub, two: tuple[str, str]) -> None:
    hub.add("org/two", {"config.json": CONFIG, "a.safetensors": noise(6_000_000, 10)})
    hub.fault("slow", rate=500_000)
    process = home.start("pull", "org/two")
    wait_until(lambda: any(home.cache.rglob("*.incomplete")))
    error = home.fails("in_use", "remove", "org/two")
    assert error["repo_id"] == "org/two"
    kill(process)
    home.ok("remove", "org/two")


def test_nothing_behind_a_symlink_is_removed(home: Home, two: tuple[str, str]) -> None:
    repo, elsewhere = home.cache / "models--org--two", home.folder / "elsewhere"
    (repo / "blobs").rename(elsewhere)
    (repo / "blobs").symlink_to(elsewhere)
    error = home.fails("unsafe_path", "remove", "org/two")
    assert error["path"] == str(repo / "blobs")
    assert len(list(elsewhere.iterdir())) == 3
    assert len(commits(home)) == 2


def test_a_link_in_a_snapshot_goes_and_not_what_it_leads_to(home: Home, two: tuple[str, str]) -> None:
    treasure = home.folder / "treasure"
    treasure.mkdir()
    (treasure / "photo.jpg").write_bytes(b"x")
    snapshot = home.cache / "models--org--two" / "snapshots" / two[1]
    (snapshot / "folder").symlink_to(treasure)
    (snapshot / "photo.jpg").symlink_to(treasure / "photo.jpg")
    home.ok("remove", "org/two")
    assert (treasure / "photo.jpg").read_bytes() == b"x"
    assert not snapshot.exists()


@pytest.mark.parametrize(("answer", "code", "n_left"), [("n", 1, 2), ("", 1, 2), ("y", 0, 0)])
def test_at_a_terminal_a_person_is_asked(
    home: Home, two: tuple[str, str], answer: str, code: int, n_left: int
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "remove", "org/two"], env=home.environment(), cwd=home.folder, stdin=theirs, stdout=theirs,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    while b"freed" not in said and b"nothing was removed" not in said:
        said += os.read(ours, 4096)
    assert process.wait(timeout=20) == code
    os.close(ours)
    assert b"Remove this, 500.0 kB? [y/N]" in said
    assert len(commits(home)) == n_left
