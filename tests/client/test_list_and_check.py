"""`holdfast list` says what is here, `holdfast check` whether it is right. Both need no network."""

import os
from pathlib import Path

import pytest

from tests.client.conftest import CONFIG, LARGE
from tests.client.running import Home
from tests.client.server import HoldfastHub

NOTHING_MATCHED = 23


def blob_of(path: Path) -> Path:
    return path.resolve()


def damage(path: Path) -> None:
    with blob_of(path).open("r+b") as file:
        file.seek(10)
        file.write(b"\xff\xfe\xfd")


def test_an_empty_cache_is_empty_and_not_an_error(home: Home) -> None:
    result = home.ok("list")
    assert (result.stdout, "0 repos, 0 B" in result.stderr) == ("", True)
    assert "Checked 0 files" in home.ok("check").stderr


def test_list_shows_revision_variant_size_and_time(home: Home, model: str, quants: str) -> None:
    home.ok("pull", "org/model")
    home.ok("pull", "org/quants-GGUF:Q8_0")
    head, first, second = home.ok("list").stdout.splitlines()
    assert head.split() == ["REPO", "REVISION", "VARIANTS", "FILES", "SIZE", "CHANGED"]
    assert first.split()[:7] == ["org/model", "main", model[:7], "safetensors", "7", "20.3", "MB"]
    assert second.split()[:7] == ["org/quants-GGUF", "main", quants[:7], "Q8_0", "1", "80.0", "kB"]


def test_list_can_be_sorted_and_fed_to_pull(home: Home, model: str, quants: str) -> None:
    home.ok("pull", "org/quants-GGUF:Q8_0")
    home.ok("pull", "org/model//README.md")
    names = home.ok("list", "-q", "--sort", "size").stdout.split()
    assert names == [f"org/quants-GGUF@{quants}", f"org/model@{model}"]
    home.ok("check", *names)


def test_check_is_quiet_about_good_files_and_names_a_bad_one(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model").path
    assert home.ok("check").stdout == ""
    damage(path / "model-00002-of-00002.safetensors")
    result = home.run("check")
    assert result.code == 1
    assert "BAD  org/model@" in result.stdout
    assert "model-00002-of-00002.safetensors: sha256: expected" in result.stdout
    assert "1 problem" in result.stderr


def test_check_knows_git_names_too(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model").path
    damage(path / "README.md")
    problems = home.run("check", "org/model", "--json").json["problems"]
    assert [(one["path"], one["problem"]) for one in problems] == [("README.md", "git oid")]


def test_check_looks_only_at_what_is_named(home: Home, hub: HoldfastHub, model: str, quants: str) -> None:
    damage(home.ok("pull", "org/model").path / "README.md")
    home.ok("pull", "org/quants-GGUF:Q8_0")
    home.ok("check", "org/quants-GGUF")
    assert home.run("check", f"org/model@{model[:8]}").code == 1
    assert home.run("check", "org/model@main").code == 1
    home.fails("not_found", "check", "org/model@v9", exit_code=NOTHING_MATCHED)
    home.fails("not_found", "check", "org/nothing", exit_code=NOTHING_MATCHED)


def test_a_link_to_nothing_is_a_problem(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model").path
    blob_of(path / "config.json").unlink()
    assert home.run("check").stdout.strip().endswith("config.json: missing")
    assert "6 (1 broken)" in home.ok("list").stdout


def test_quick_compares_sizes_only(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model").path
    damage(path / "model-00002-of-00002.safetensors")
    home.ok("check", "--quick")
    os.truncate(blob_of(path / "model-00002-of-00002.safetensors"), 5)
    assert "size: expected 20000000 bytes, got 5 bytes" in home.run("check", "--quick").stdout


def test_repair_fetches_the_bad_files_and_no_others(home: Home, hub: HoldfastHub, model: str) -> None:
    path = home.ok("pull", "org/model").path
    damage(path / "model-00002-of-00002.safetensors")
    blob_of(path / "config.json").unlink()
    hub.requests.clear()
    result = home.ok("check", "--repair")
    assert "2 problems, 2 repaired" in result.stderr
    assert sorted(seen.path for seen in hub.seen("resolve")) == [
        "config.json",
        "model-00002-of-00002.safetensors",
    ]
    assert (path / "model-00002-of-00002.safetensors").read_bytes() == LARGE
    home.ok("check")


def test_a_repair_that_cannot_be_made_keeps_the_file_and_says_why(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    path = home.ok("pull", "org/model").path
    damage(path / "README.md")
    hub.fault("status", path="README.md", status=404, error_code="EntryNotFound")
    result = home.run("check", "--repair")
    assert result.code == 1
    assert "not repaired: org/model README.md: no such file" in result.stderr
    assert (path / "README.md").exists()


@pytest.fixture
def locked(home: Home, model: str) -> Path:
    """org/model, pulled by the lock in the home. Returns the snapshot."""
    (home.folder / "models.txt").write_text("org/model\n")
    home.ok("lock")
    return home.ok("sync").path


def test_a_lock_knows_what_is_missing_altogether(home: Home, hub: HoldfastHub, locked: Path) -> None:
    assert "Checked 7 files, 20.3 MB: all good" in home.ok("check", "-l", "models.lock").stderr
    home.ok("remove", "org/model//config.json")
    home.ok("check")
    damage(locked / "README.md")
    os.truncate(blob_of(locked / "model-00002-of-00002.safetensors"), 5)
    lines = home.run("check", "--lock", "models.lock").stdout.splitlines()
    assert [line.split()[2:4] for line in lines] == [
        ["README.md:", "sha256:"],
        ["config.json:", "missing"],
        ["model-00002-of-00002.safetensors:", "size:"],
    ]
    quick = home.run("check", "-l", "models.lock", "--quick", "--json").json["problems"]
    assert [one["problem"] for one in quick] == ["missing", "size"]
    hub.requests.clear()
    assert "3 problems, 3 repaired" in home.ok("check", "-l", "models.lock", "--repair").stderr
    assert len(hub.seen("resolve")) == 3
    home.ok("check", "-l", "models.lock")


def test_a_lock_that_is_not_there_or_is_none_is_an_error(home: Home) -> None:
    home.fails("not_found", "check", "-l", "no.lock", exit_code=NOTHING_MATCHED)
    (home.folder / "bad.lock").write_text("version = 7")
    home.fails("bad_lock", "check", "-l", "bad.lock")


def test_repair_mends_truncated_blobs_broken_links_and_folders_in_the_way(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    path = home.ok("pull", "org/model").path
    os.truncate(blob_of(path / "model-00002-of-00002.safetensors"), 7)
    blob_of(path / "model-00001-of-00002.safetensors").write_bytes(b"")
    blob_of(path / "README.md").unlink()
    (path / "config.json").unlink()
    (path / "config.json").symlink_to("/nowhere/at/all")
    assert "4 problems, 4 repaired" in home.ok("check", "--repair").stderr
    assert "all good" in home.ok("check").stderr
    assert (path / "config.json").read_bytes() == CONFIG


def test_an_interrupted_pull_is_no_problem_for_check(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("corrupt", path="README.md", at=1)
    home.fails("hash_mismatch", "pull", "org/model")
    home.ok("check")
    assert "0 repos" in home.ok("list").stderr


def test_copies_are_checked_against_the_kept_listing(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model", HF_HUB_DISABLE_SYMLINKS="1").path
    assert "all good" in home.ok("check").stderr
    damage(path / "README.md")
    assert home.run("check").code == 1


def test_outdated_asks_the_index_once_per_repo(home: Home, hub: HoldfastHub, model: str, quants: str) -> None:
    for reference in (
        "org/model//README.md",
        "org/quants-GGUF//README.md",
        f"org/model@{model}//config.json",
    ):
        home.ok("pull", reference)
    hub.requests.clear()
    result = home.ok("list", "--outdated")
    assert (result.stdout, "2 repos asked, 0 outdated" in result.stderr) == ("", True)
    assert len(hub.requests) == 2
    new = hub.add("org/model", {"README.md": b"new"})
    head, line = home.ok("list", "--outdated").stdout.splitlines()
    assert head.split() == ["REPO", "REVISION", "HERE", "AT", "THE", "INDEX"]
    assert line.split() == ["org/model", "main", model[:12], new[:12]]
    assert home.ok("list", "--outdated", "-q").stdout == "org/model@main\n"
    home.ok("pull", "org/model@main//README.md")
    assert home.ok("list", "--outdated").stdout == ""


def test_outdated_says_what_is_gone_and_fails_where_nobody_answers(
    home: Home, hub: HoldfastHub, model: str, quants: str
) -> None:
    home.ok("pull", "org/model//README.md")
    home.ok("pull", "org/quants-GGUF//README.md")
    del hub.repos["org/model"]
    result = home.ok("list", "--outdated", "--json")
    states = {one["repo_id"]: one["state"] for one in result.json["repos"]}
    assert states == {"org/model": "gone", "org/quants-GGUF": "current"}
    assert "gone: no such repo: org/model@main" in result.stderr
    home.fails("network", "list", "--outdated", "-i", "http://127.0.0.1:9", "--retries", "0")
    home.fails("offline", "list", "--outdated", "--offline")


def test_the_list_has_three_forms(home: Home, model: str, quants: str) -> None:
    home.ok("pull", "org/model")
    home.ok("pull", "org/quants-GGUF:Q8_0")
    lines = home.ok("list", "--format", "freeze").stdout
    assert lines.splitlines() == [f"org/model@{model}", f"org/quants-GGUF@{quants}:Q8_0"]
    assert home.ok("list", "--format", "json").stdout == home.ok("list", "--json").stdout
    (home.folder / "models.txt").write_text(lines)
    assert "here already" in home.ok("pull", "-r", "models.txt", "--offline").stderr


def test_list_of_a_thousand_repos_takes_half_a_second_at_most(home: Home) -> None:
    for n in range(1000):
        repo = home.cache / f"models--org--m{n}"
        blob, snapshot = repo / "blobs" / ("b" * 64), repo / "snapshots" / ("c" * 40)
        blob.parent.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        blob.write_bytes(b"x")
        (snapshot / "model.safetensors").symlink_to("../../blobs/" + "b" * 64)
    assert len(home.ok("list").stdout.splitlines()) == 1001
    assert home.cpu_seconds("list") < 0.5
