"""`holdfast cache`: what is here, what of it can go, and how the cache is kept below a size."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.client.conftest import CARD, CONFIG, LARGE, SMALL, noise
from tests.client.running import COMMAND, Home, kill, wait_until
from tests.client.server import HoldfastHub
from tests.client.stores import ollama, put

NOTHING_MATCHED = 23
DAY = 86400


def cached(home: Home) -> dict[str, int]:
    """The repos, and how many commits of each."""
    found: dict[str, int] = {}
    for one in home.ok("list", "--json").json["snapshots"]:
        found[one["repo_id"]] = found.get(one["repo_id"], 0) + 1
    return found


def age(home: Home, repo: str, days: float, pattern: str = "*") -> None:
    """As if everything of the repo had last been used, and written, that long ago."""
    then = time.time() - days * DAY
    for path in (home.cache / f"models--{repo.replace('/', '--')}").rglob(pattern):
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def three(home: Home, hub: HoldfastHub) -> None:
    """org/a, org/b, org/c of a million bytes each; a was used last, c longest ago."""
    for n, name in enumerate("abc"):
        files = {"model.safetensors": noise(1_000_000, 20 + n)}
        put(home.cache, f"org/{name}", hub.add(f"org/{name}", files), files, "main")
        age(home, f"org/{name}", 10 * n)


def interrupted(home: Home, hub: HoldfastHub) -> None:
    """A pull of org/model that was killed in its largest file; the small ones had come."""
    hub.fault("slow", path="model-00002*", rate=2_000_000)
    process = home.start("pull", "org/model")
    wait_until(lambda: any(home.cache.rglob("*.parts")) and len(home.blobs()) == 6)
    kill(process)
    hub.heal()


def test_dir_is_the_folder(home: Home) -> None:
    assert home.ok("cache", "dir").stdout == f"{home.cache}\n"
    assert home.ok("cache", "dir", "--json", "--cache-dir", "/x/y").json == {"cache_dir": "/x/y"}


def test_info_counts_what_is_shared_once(home: Home, hub: HoldfastHub, model: str) -> None:
    home.ok("pull", "org/model")
    hub.add("org/model", {"README.md": CARD, "model-00002-of-00002.safetensors": LARGE, "new.bin": SMALL})
    home.ok("pull", "org/model")
    info = home.ok("cache", "info", "--json").json
    (repo,) = info["repos"]
    assert (info["size_bytes"], len(repo["commits"])) == (20_300_046, 2)
    assert repo["refs"]["main"] in repo["commits"]
    assert repo["shared_bytes"] == len(LARGE) + len(SMALL) + len(CARD)
    assert (info["locks_held"], repo["unfinished_bytes"]) == (0, 0)
    head, line = home.ok("cache", "info").stdout.splitlines()
    assert head.split() == ["REPO", "SIZE", "COMMITS", "SHARED", "LAST", "USED"]
    assert line.split()[:6] == ["org/model", "20.3", "MB", "2", "20.3", "MB"]


def test_info_names_what_did_not_end_and_what_other_tools_hold(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    interrupted(home, hub)
    ollama(home.folder, SMALL)
    result = home.ok("cache", "info")
    assert "of pulls that did not end: pull again to go on, or holdfast cache prune" in result.stderr
    assert f"Ollama in {home.folder}/.ollama/models/blobs: 1 file, 300.0 kB" in result.stderr
    info = home.ok("cache", "info", "--json").json
    assert 0 < info["repos"][0]["unfinished_bytes"] < len(LARGE)
    assert info["repos"][0]["unreferenced_bytes"] > len(SMALL)


def test_a_pull_under_way_shows_in_the_locks(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("slow", rate=200_000)
    process = home.start("pull", "org/model")
    wait_until(lambda: any(home.cache.rglob("*.parts")))
    assert home.ok("cache", "info", "--json").json["locks_held"] >= 2
    kill(process)


def test_list_and_remove_are_those_without_cache(home: Home, model: str) -> None:
    home.ok("pull", "org/model//README.md")
    assert home.ok("cache", "list", "-q").stdout == home.ok("list", "-q").stdout == f"org/model@{model}\n"
    assert "Removed from 1 repo: 16 B freed." in home.ok("cache", "remove", "org/model").stderr


def test_an_empty_cache_is_no_error(home: Home) -> None:
    assert home.ok("cache", "info").stdout == ""
    assert "Nothing to remove" in home.ok("cache", "prune").stderr
    assert "Nothing to remove" in home.ok("cache", "purge", "-y").stderr
    assert not home.cache.exists()


def test_prune_leaves_a_young_pull_alone_and_takes_an_old_one(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    interrupted(home, hub)
    assert "Nothing to remove" in home.ok("cache", "prune").stderr
    age(home, "org/model", 8)
    shown = home.ok("cache", "prune", "--dry-run")
    assert "6 unreferenced blobs, 1 unfinished file" in shown.stdout
    assert home.leftovers() != []
    home.ok("cache", "prune")
    assert home.leftovers() == []
    assert not (home.cache / "models--org--model").exists()
    home.ok("pull", "org/model")


def test_what_did_not_end_can_go_at_once(home: Home, hub: HoldfastHub, model: str) -> None:
    interrupted(home, hub)
    assert home.ok("cache", "prune", "--older-than", "0", "--json").json["freed_bytes"] > len(SMALL)
    assert home.blobs() == {}


def test_a_pull_goes_on_after_a_prune_that_left_it_alone(home: Home, hub: HoldfastHub, model: str) -> None:
    """Between the moment a blob is whole and the moment a snapshot shows it only the lock of the pull keeps it."""
    hub.fault("slow", path="model-00002*", rate=10_000_000)
    process = home.start("pull", "org/model")
    wait_until(lambda: any(home.cache.rglob("*.parts")) and len(home.blobs()) == 6)
    age(home, "org/model", 30, "blobs/*")
    result = home.run("cache", "prune", "--older-than", "0")
    assert (result.code, "left alone: org/model is being pulled" in result.stderr) == (1, True)
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert (Path(said.strip()) / "model-00001-of-00002.safetensors").read_bytes() == SMALL
    assert "all good" in home.ok("check").stderr


def test_broken_links_go(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model").path
    (path / "config.json").resolve().unlink()
    assert "1 broken link: holdfast check --repair" in home.ok("cache", "info").stderr
    home.ok("cache", "prune")
    assert not os.path.lexists(path / "config.json")
    assert "all good" in home.ok("check").stderr


def test_commits_that_no_ref_names_go_only_if_asked(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/two", {"config.json": CONFIG, "a.safetensors": SMALL})
    home.ok("pull", "org/two")
    hub.add("org/two", {"config.json": CONFIG, "a.safetensors": noise(200_000, 9)})
    home.ok("pull", "org/two")
    home.ok("cache", "prune")
    assert cached(home) == {"org/two": 2}
    assert home.ok("cache", "prune", "--unreferenced", "--json").json["freed_bytes"] == len(SMALL)
    assert cached(home) == {"org/two": 1}
    home.ok("pull", "org/two", "--offline")


def test_the_least_recently_used_goes_first(home: Home, three: None) -> None:
    assert home.ok("cache", "prune", "--max-size", "2500k", "--json").json["freed_bytes"] == 1_000_000
    assert sorted(cached(home)) == ["org/a", "org/b"]
    home.ok("pull", "org/b")
    age(home, "org/a", 5)
    home.ok("cache", "prune", "--max-size", "1M")
    assert sorted(cached(home)) == ["org/b"]


def test_reading_a_file_is_using_it(home: Home, three: None) -> None:
    blob = next((home.cache / "models--org--c" / "blobs").iterdir())
    os.utime(blob, (time.time(), blob.stat().st_mtime))
    home.ok("cache", "prune", "--max-size", "2M")
    assert sorted(cached(home)) == ["org/a", "org/c"]


def test_checking_a_file_is_not_using_it(home: Home, three: None) -> None:
    blob = next((home.cache / "models--org--c" / "blobs").iterdir())
    before = blob.stat().st_atime_ns
    home.ok("check")
    assert blob.stat().st_atime_ns == before


def test_one_quantization_type_of_a_repo_goes_alone(home: Home, quants: str) -> None:
    home.ok("pull", "org/quants-GGUF:F16")
    age(home, "org/quants-GGUF", 3)
    home.ok("pull", "org/quants-GGUF:Q8_0")
    home.ok("cache", "prune", "--max-size", "100k")
    (left,) = home.ok("list", "--json").json["snapshots"]
    assert left["variants"] == ["Q8_0"]


def test_what_is_kept_by_name_never_goes(home: Home, three: None) -> None:
    result = home.run("cache", "prune", "--max-size", "1k", "--keep", "org/c", "--keep", "org/b@main")
    assert sorted(cached(home)) == ["org/b", "org/c"]
    assert result.code == 1
    assert "2.0 MB are kept, more than asked for" in result.stderr
    home.fails(
        "not_found", "cache", "prune", "--max-size", "1k", "--keep", "org/x", exit_code=NOTHING_MATCHED
    )


def test_what_a_lock_names_never_goes(home: Home, three: None) -> None:
    (home.folder / "models.txt").write_text("org/c\n")
    home.ok("lock")
    home.ok("cache", "prune", "--max-size", "1M", "--lock", "models.lock")
    assert sorted(cached(home)) == ["org/c"]
    home.fails("not_found", "cache", "prune", "-l", "no.lock", exit_code=NOTHING_MATCHED)


def test_a_dry_run_of_every_kind_changes_nothing(home: Home, three: None) -> None:
    before = sorted(home.cache.rglob("*"))
    assert home.ok("cache", "prune", "--max-size", "1500k", "--dry-run").stdout.split()[4:6] == ["org/c", "1"]
    assert "3.0 MB would be freed" in home.ok("cache", "purge", "--dry-run").stderr
    assert sorted(home.cache.rglob("*")) == before


def test_purge_takes_all_models_and_nothing_else(home: Home, three: None) -> None:
    (home.cache / "datasets--org--data").mkdir(parents=True)
    home.fails("declined", "cache", "purge")
    assert len(cached(home)) == 3
    result = home.ok("cache", "purge", "-y")
    assert "Removed from 3 repos: 3.0 MB freed." in result.stderr
    assert cached(home) == {}
    assert [path.name for path in home.cache.iterdir() if path.name[0] not in ".C"] == ["datasets--org--data"]


def test_a_pull_brings_the_cache_below_its_size(home: Home, hub: HoldfastHub, three: None) -> None:
    hub.add("org/d", {"model.safetensors": noise(1_500_000, 30)})
    result = home.ok("pull", "org/d", HOLDFAST_MAX_CACHE_SIZE="3M")
    assert "made room: org/c: 1 commit, 1 ref, 1 file, 1.0 MB" in result.stderr
    assert sorted(cached(home)) == ["org/a", "org/d"]
    result = home.ok("pull", "org/d", HOLDFAST_MAX_CACHE_SIZE="1M")
    assert sorted(cached(home)) == ["org/d"]
    assert "the cache is larger than 1.0 MB: nothing more may be removed" in result.stderr


def test_nothing_behind_a_symlink_is_pruned_or_purged(home: Home, three: None) -> None:
    repo, elsewhere = home.cache / "models--org--c", home.folder / "elsewhere"
    shutil.move(repo, elsewhere)
    repo.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    home.ok("cache", "prune", "--max-size", "1500k")
    result = home.run("cache", "purge", "-y")
    assert "left alone" in result.stderr
    assert sorted(elsewhere.rglob("*")) == before
    assert "is a symlink: what is behind it is not counted" in home.ok("cache", "info").stderr


def test_a_cache_that_may_only_be_read_is_left_as_it_is_with_a_clear_error(three: None, home: Home) -> None:
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("needs root and setpriv, to run the client as another user")
    folder = Path(tempfile.mkdtemp(prefix="holdfast-home-"))
    folder.chmod(0o755)
    shutil.copytree(home.cache, folder / "hub", symlinks=True)
    nobody = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", *COMMAND]
    environment = Home(folder, home.index_url).environment()
    blob = next((folder / "hub" / "models--org--a" / "blobs").iterdir())
    blob.write_bytes(b"damaged")
    try:
        for arguments in (["remove", "org/b"], ["cache", "purge", "-y"], ["check", "--repair"]):
            done = subprocess.run(
                [*nobody, *arguments], env=environment, capture_output=True, text=True, check=False
            )
            assert (done.returncode, "cannot write" in done.stderr) == (1, True), done.stderr
        assert len(list((folder / "hub").glob("models--*/blobs/*"))) == 3
    finally:
        shutil.rmtree(folder)


def test_bytes_with_a_name_elsewhere_are_not_called_free(home: Home, three: None) -> None:
    blob = next((home.cache / "models--org--a" / "blobs").iterdir())
    os.link(blob, home.folder / "elsewhere.safetensors")
    removed = home.ok("remove", "org/a", "--json").json
    assert (removed["freed_bytes"], removed["linked_bytes"]) == (0, 1_000_000)
