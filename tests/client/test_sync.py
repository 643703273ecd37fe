"""`holdfast sync`: afterwards what is here is what the lock says, whatever an index says meanwhile."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from holdfast.lists.lockfile import LockedFile, LockedModel, lock_text, write_lock

from tests.client.calling import Caller
from tests.client.conftest import CARD, SMALL, noise
from tests.client.running import Home, kill, wait_until
from tests.client.server import HoldfastHub
from tests.client.test_pull import at_a_terminal


@pytest.fixture
def home(hub: HoldfastHub, tmp_path: Path) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Caller(folder, hub.url)


Q8 = noise(80_000, 8)


@pytest.fixture
def small(hub: HoldfastHub) -> str:
    """org/small: three files in two folders, one of them in LFS. Returns its commit."""
    return hub.add("org/small", {"README.md": CARD, "sub/config.json": b"{}\n", "model.safetensors": SMALL})


@pytest.fixture
def locked(home: Home, hub: HoldfastHub, small: str, quants: str) -> str:
    """A list of two models, and its lock. Returns the lock's text."""
    (home.folder / "models.txt").write_text("org/small\norg/quants-GGUF:Q8_0\n")
    models = [
        _locked_model(hub, "org/small", "org/small", None),
        _locked_model(hub, "org/quants-GGUF", "org/quants-GGUF:Q8_0", "Q8_0"),
    ]
    write_lock(home.folder / "models.lock", models)
    return lock_text(models)


def _locked_model(hub: HoldfastHub, repo_id: str, requirement: str, variant: str | None) -> LockedModel:
    """What `holdfast lock` writes (tests/client/test_lock.py), without starting it for every test."""
    commit = hub.repos[repo_id].branches["main"]
    files = tuple(
        LockedFile(file.path, file.size, file.sha256, None if file.is_lfs else file.git_oid)
        for file in hub.repos[repo_id].commits[commit].files.values()
        if variant is None or variant in file.path
    )
    return LockedModel(requirement, hub.url, repo_id, "main", commit, variant, None, None, (), files)


def test_the_cache_holds_what_is_locked(home: Home, hub: HoldfastHub, locked: str, small: str) -> None:
    moved = hub.add("org/small", {"README.md": b"another\n"})
    result = home.ok("sync")
    gguf, folder = map(Path, result.stdout.splitlines())
    assert gguf.read_bytes() == Q8
    assert (folder / "sub" / "config.json").read_bytes() == b"{}\n"
    root = home.cache / "models--org--small"
    assert (root / "snapshots" / small / "README.md").read_bytes() == CARD
    assert (root / "refs" / "main").read_text() == small != moved
    assert (home.folder / "models.lock").read_text() == locked
    assert "all good" in home.ok("check").stderr


def test_a_second_time_nobody_is_asked(home: Home, hub: HoldfastHub, locked: str) -> None:
    home.ok("sync")
    (home.cache / "models--org--small" / "refs" / "main").unlink()
    hub.requests.clear()
    result = home.ok("sync")
    assert hub.requests == []
    assert "here already" in result.stderr
    assert (home.cache / "models--org--small" / "refs" / "main").is_file()
    home.ok("sync", "--offline")


def test_offline_what_is_missing_is_named(home: Home, locked: str) -> None:
    assert home.fails("offline", "sync", "--offline")["repo_id"] == "org/quants-GGUF"


@pytest.mark.parametrize("what", ["list-sha256", "list-size", "list-oid"])
def test_an_index_that_lists_other_bytes_is_found_out_before_any_come(
    home: Home, hub: HoldfastHub, locked: str, what: str
) -> None:
    path = "sub/config.json" if what == "list-oid" else "model.safetensors"
    hub.fault(what, path=path, on="tree", by=1)
    error = home.fails("hash_mismatch", "sync", "--frozen")
    assert error["path"] == path
    assert not (home.cache / "models--org--small").exists()


def test_an_index_that_serves_other_bytes_leaves_nothing(home: Home, hub: HoldfastHub, locked: str) -> None:
    text = locked.replace(hashlib.sha256(CARD).hexdigest(), "e" * 64)
    (home.folder / "models.lock").write_text(text)
    error = home.fails("hash_mismatch", "sync", "--frozen")
    assert (error["path"], error["expected"]) == ("README.md", "e" * 64)
    assert not (home.cache / "models--org--small" / "refs").exists()
    assert hashlib.sha256(CARD).hexdigest() not in {
        hashlib.sha256(one).hexdigest() for one in home.blobs().values()
    }
    assert home.leftovers() == []


def test_what_the_cache_held_before_is_compared_with_the_lock(
    home: Home, hub: HoldfastHub, locked: str
) -> None:
    home.ok("sync")
    text = locked.replace(hashlib.sha256(CARD).hexdigest(), "e" * 64)
    (home.folder / "models.lock").write_text(text)
    assert home.fails("hash_mismatch", "sync", "--frozen", "--offline")["path"] == "README.md"


def test_the_list_is_locked_anew_unless_that_is_forbidden(
    home: Home, hub: HoldfastHub, locked: str, small: str
) -> None:
    home.ok("sync", "--locked")
    (home.folder / "models.txt").write_text("org/small\n")
    assert home.fails("lock_outdated", "sync", "--locked")["differences"] == [
        "not wanted: org/quants-GGUF:Q8_0"
    ]
    assert len(home.ok("sync", "--frozen").stdout.splitlines()) == 2
    assert len(home.ok("sync", "--dry-run", "--json").json["pulled"]) == 1
    assert (home.folder / "models.lock").read_text() == locked
    assert len(home.ok("sync").stdout.splitlines()) == 1
    assert "quants" not in (home.folder / "models.lock").read_text()


def test_without_a_lock_there_must_be_a_list(home: Home, hub: HoldfastHub, small: str) -> None:
    home.fails("not_found", "sync", exit_code=23)
    (home.folder / "models.txt").write_text("org/small\n")
    home.fails("not_found", "sync", "--frozen", exit_code=23)
    home.fails("lock_outdated", "sync", "--locked")
    home.ok("sync")
    assert (home.folder / "models.lock").is_file()


def test_a_folder_has_a_folder_for_each_model(home: Home, hub: HoldfastHub, locked: str) -> None:
    home.ok("sync", "--dest", "here")
    here = home.folder / "here"
    assert (here / "org/small/sub/config.json").read_bytes() == b"{}\n"
    assert (here / "org/quants-GGUF/quants-Q8_0.gguf").read_bytes() == Q8
    assert not home.cache.exists()
    (here / "org/small/README.md").write_bytes(b"edited by hand")
    hub.requests.clear()
    home.ok("sync", "--dest", "here")
    assert (here / "org/small/README.md").read_bytes() == CARD, "equal to the lock, whoever changed it"
    assert [seen.path for seen in hub.seen("resolve")] == ["README.md"]


def test_a_folder_that_is_somebody_elses_is_left_alone(home: Home, locked: str) -> None:
    mine = home.folder / "here" / "org" / "small" / "README.md"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    home.fails("file_exists", "sync", "--dest", "here")
    mine.rename(home.folder / "here" / "notes")
    home.ok("sync", "--dest", "here")
    home.fails("file_exists", "sync", "--dest", "here", "--prune", "-y")
    assert (home.folder / "here" / "notes").read_bytes() == b"mine"


def test_prune_takes_from_a_folder_what_is_not_locked(home: Home, locked: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    home.ok("sync", "--dest", "here")
    here = home.folder / "here"
    (here / "org/small/extra/deep").mkdir(parents=True)
    (here / "org/small/extra/deep/file").write_bytes(b"x")
    (here / "link").symlink_to(outside)
    (home.folder / "models.txt").write_text("org/small\n")
    shown = home.ok("sync", "--dest", "here", "--prune", "--dry-run").stderr
    assert "quants-Q8_0.gguf" in shown
    assert (here / "org/quants-GGUF/quants-Q8_0.gguf").exists()
    home.ok("sync", "--dest", "here", "--prune")
    left = sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if not path.is_dir())
    assert left == [
        ".holdfast-sync",
        "org/small/README.md",
        "org/small/model.safetensors",
        "org/small/sub/config.json",
    ]
    assert not (here / "org/quants-GGUF").exists()
    assert (outside / "kept").read_bytes() == b"kept"


def test_prune_takes_from_the_cache_what_is_not_locked(
    home: Home, hub: HoldfastHub, locked: str, small: str
) -> None:
    home.ok("pull", "org/quants-GGUF:Q4_K_M")
    hub.add("org/other", {"model.safetensors": noise(5000)})
    home.ok("pull", "org/other")
    removed = home.ok("sync", "--prune", "--json").json["pruned"]
    assert removed["freed_bytes"] == 45_000
    assert home.ok("list", "-q").stdout.split() == sorted(
        line.strip() for line in home.ok("list", "-q").stdout.split() if "org/other" not in line
    )
    assert not (home.cache / "models--org--other").exists()
    assert {len(data) for data in home.blobs().values()} == {len(CARD), 3, len(SMALL), len(Q8)}
    home.ok("sync", "--locked", "--offline")


def test_at_a_terminal_a_removal_is_asked_for(home: Home, locked: str) -> None:
    home.ok("sync", "--dest", "here")
    extra = home.folder / "here" / "extra"
    for answer, code in ((b"\n", 1), (b"y\n", 0)):
        extra.write_bytes(b"x")
        got, shown = at_a_terminal(home, answer, "sync", "--dest", "here", "--prune")
        assert (got, extra.exists()) == (code, code == 1), shown
        assert "Remove 1 file, 1 B? [y/N]" in shown


def test_another_index_may_bring_the_locked_bytes(home: Home, hub: HoldfastHub, locked: str) -> None:
    with HoldfastHub() as mirror:
        mirror.repos.update(hub.repos)
        hub.stop()
        home.ok("sync", "-i", mirror.url)
        assert mirror.seen("resolve") != []


def test_where_the_index_is_gone_a_folder_may_hold_the_bytes(
    tmp_path: Path, home: Home, hub: HoldfastHub, locked: str
) -> None:
    for repo_id in ("org/small", "org/quants-GGUF"):
        folder, sums = tmp_path / "usb" / repo_id, []
        for file in hub.repos[repo_id].commits[hub.repos[repo_id].branches["main"]].files.values():
            assert isinstance(file.content, bytes)
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.path).write_bytes(file.content)
            sums.append(f"{file.sha256}  {file.path}\n")
        (folder / "SHA256SUMS").write_text("".join(sums))
    hub.stop()
    assert "cannot tell" in home.ok("sync", "--find-links", str(tmp_path / "usb"), "--retries", "0").stderr
    assert "all good" in home.ok("check").stderr


def test_the_token_stays_with_the_index_it_is_for(home: Home, hub: HoldfastHub, locked: str) -> None:
    hub.requests.clear()
    home.ok("sync", "--frozen", HOLDFAST_INDEX_URL="http://127.0.0.1:1", HOLDFAST_TOKEN="hf_secret")
    assert hub.requests != []
    assert not any("authorization" in seen.headers for seen in hub.requests)


def test_verdicts_may_be_required(home: Home, hub: HoldfastHub, locked: str, quants: str) -> None:
    (home.folder / "models.txt").write_text("org/quants-GGUF:Q8_0\n")
    home.ok("lock")
    home.fails("not_validated", "sync", "--frozen", "--require-validated")
    hub.judge("org/quants-GGUF", "quants-Q8_0.gguf", "loads", passed=False, override="verified")
    home.ok("sync", "--require-validated")


def test_two_commits_of_a_repo_do_not_fit_in_one_folder(home: Home, hub: HoldfastHub, small: str) -> None:
    hub.add("org/small", {"README.md": b"2"})
    (home.folder / "models.txt").write_text(f"org/small\norg/small@{small}\n")
    home.fails("usage", "sync", "--dest", "here", exit_code=2)
    home.ok("sync")
    assert len(list((home.cache / "models--org--small" / "snapshots").iterdir())) == 2


def test_killed_in_the_middle_it_goes_on(home: Home, hub: HoldfastHub, locked: str) -> None:
    hub.fault("stall", path="model.safetensors", at=100_000, times=1)
    process = home.start("sync")
    wait_until(
        lambda: (
            any(seen.path == "model.safetensors" for seen in hub.seen("resolve"))
            or process.poll() is not None
        )
    )
    kill(process)
    home.ok("sync")
    assert "all good" in home.ok("check").stderr
    assert home.leftovers() == []


def test_a_folder_of_plain_files_is_locked_from_where_the_lock_lies(home: Home) -> None:
    place = home.folder / "project" / "place" / "org" / "tree"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(SMALL)
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256(SMALL).hexdigest()}  model.safetensors\n")
    project = home.folder / "project"
    (project / "models.txt").write_text("--no-index\n--find-links place\norg/tree\n")
    home.ok("lock", "project/models.txt")
    assert 'index = "./place"' in (project / "models.lock").read_text()
    project.rename(home.folder / "moved")
    path = home.ok("sync", "--frozen", "moved/models.lock").path
    assert path.read_bytes() == SMALL


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_at_a_terminal_all_models_together_are_asked_for_once(
    home: Home, locked: str, answer: bytes, code: int
) -> None:
    got, shown = at_a_terminal(home, answer, "sync", HOLDFAST_ASK_ABOVE="350000")
    assert (got, shown.count("[Y/n]")) == (code, 1), shown
    assert "Fetch 380.0 kB of 2 models? [Y/n]" in shown


def test_what_does_not_fit_together_is_not_begun(home: Home, hub: HoldfastHub, locked: str) -> None:
    text = locked.replace(f"size_bytes = {len(SMALL)}", f"size_bytes = {1 << 49}")
    (home.folder / "models.lock").write_text(text)
    assert home.fails("no_space", "sync", "--frozen", "--dest", "here")["needed_bytes"] > 1 << 49
    assert not (home.folder / "here").exists()
    assert hub.requests == []


@pytest.mark.parametrize("dest", [(), ("--dest", "here")])
def test_of_equal_files_each_is_compared_with_its_own_line(
    home: Home, hub: HoldfastHub, dest: tuple[str, ...]
) -> None:
    hub.add("org/twins", {"a.txt": b"one\n", "b.txt": b"one\n"})
    model = _locked_model(hub, "org/twins", "org/twins", None)
    spoilt = LockedFile("b.txt", 4, "e" * 64, model.files[1].git_oid)
    write_lock(home.folder / "models.lock", [replace(model, files=(model.files[0], spoilt))])
    home.fails("hash_mismatch", "sync", *dest)
    write_lock(home.folder / "models.lock", [model])
    assert (home.ok("sync", *dest).path / "b.txt").read_bytes() == b"one\n"
