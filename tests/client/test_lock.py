"""models.lock: stable, reviewable, strict; `lock` moves nothing unless it is told to."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from holdfast.configuration.toml import parse_toml
from holdfast.errors import BadLock, HoldfastError
from holdfast.lists.lockfile import LockedFile, LockedModel, LockedVerdict, lock_text, read_lock, write_lock
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.calling import Caller
from tests.client.conftest import CONFIG, SMALL, noise
from tests.client.running import Home, kill, wait_until
from tests.client.server import HoldfastHub


@pytest.fixture
def home(hub: HoldfastHub, tmp_path: Path) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Caller(folder, hub.url)


CARD = b"---\nlicense: other\nlicense_name: llama-community\n---\n# Card\n"
LICENCE = b"Be kind.\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(home: Home, text: str, name: str = "models.txt") -> None:
    (home.folder / name).write_text(text)


def locked(home: Home) -> str:
    return (home.folder / "models.lock").read_text()


def models(home: Home) -> list[dict[str, Any]]:
    found = parse_toml(locked(home))["model"]
    assert isinstance(found, list)
    return found


@pytest.fixture
def licensed(hub: HoldfastHub) -> str:
    files = {"README.md": CARD, "LICENSE": LICENCE, "config.json": CONFIG, "model.safetensors": SMALL}
    return hub.add("org/licensed", files)


def test_a_lock_says_all_there_is_to_know(home: Home, hub: HoldfastHub, licensed: str, quants: str) -> None:
    report = hub.judge("org/quants-GGUF", "quants-Q8_0.gguf", "verified", passed=True)
    write(home, "org/licensed\norg/quants-GGUF:q8_0 --hash sha256:" + sha256(noise(80_000, 8)) + "\n")
    assert home.ok("lock").path == Path("models.lock")
    one, two = models(home)
    assert (one["requirement"], one["index"], one["repo_id"]) == ("org/licensed", hub.url, "org/licensed")
    assert (one["commit"], one["revision"], one["licence"]) == (licensed, "main", "other:llama-community")
    assert one["licence_sha256"] == sha256(LICENCE)
    by_path = {file["path"]: file for file in one["files"]}
    assert by_path["config.json"]["sha256"] == sha256(CONFIG)
    assert len(by_path["config.json"]["git_oid"]) == 40
    assert by_path["model.safetensors"] == {
        "path": "model.safetensors", "size_bytes": len(SMALL), "sha256": sha256(SMALL),
    }  # fmt: skip
    assert (two["requirement"], two["variant"]) == ("org/quants-GGUF:q8_0", "Q8_0")
    assert two["verdicts"] == [
        {"path": "quants-Q8_0.gguf", "verdict": "verified", "passed": True, "report_sha256": report}
    ]
    assert not home.cache.exists(), "nothing was pulled"


def test_a_variant_is_locked_where_the_index_keeps_it(home: Home, hub: HoldfastHub, model: str) -> None:
    made = hub.add("made/elsewhere", {"model-Q8_0.gguf": SMALL})
    hub.offer("org/model", "Q8_0", "made/elsewhere", "model-Q8_0.gguf")
    write(home, "org/model:Q8_0\n")
    home.ok("lock")
    one = models(home)[0]
    assert (one["requirement"], one["repo_id"], one["commit"]) == ("org/model:Q8_0", "made/elsewhere", made)


def test_the_text_is_the_same_in_any_order_twice_and_everywhere(
    home: Home, hub: HoldfastHub, licensed: str, quants: str
) -> None:
    write(home, "org/quants-GGUF:Q8_0\norg/licensed\norg/quants-GGUF:Q4_K_M\n")
    home.ok("lock")
    first = (home.folder / "models.lock").read_bytes()
    (home.folder / "models.lock").unlink()
    write(
        home, "# turned\norg/quants-GGUF:Q4_K_M\norg/licensed   # that\norg/quants-GGUF:Q8_0\norg/licensed\n"
    )
    process = Home(home.folder, home.index_url)
    process.ok("lock", LANG="tr_TR.UTF-8", LC_ALL="tr_TR.UTF-8", PYTHONHASHSEED="7", PYTHONUTF8="0")
    assert (home.folder / "models.lock").read_bytes() == first
    before = (home.folder / "models.lock").stat().st_mtime_ns
    home.ok("lock")
    assert (home.folder / "models.lock").stat().st_mtime_ns == before, "an unchanged lock is not written"
    assert b"\r" not in first
    assert max(map(len, first.splitlines())) < 250


def test_what_is_locked_stays_until_it_is_told_to_move(
    home: Home, hub: HoldfastHub, licensed: str, quants: str
) -> None:
    write(home, "org/licensed\norg/quants-GGUF:Q8_0\n")
    home.ok("lock")
    first = locked(home)
    moved = hub.add("org/licensed", {"README.md": CARD, "model.safetensors": noise(1000)})
    also = hub.add("org/quants-GGUF", {"quants-Q8_0.gguf": noise(1000), "quants-Q4_K_M.gguf": noise(2000)})
    hub.requests.clear()
    home.ok("lock")
    assert (locked(home), hub.requests) == (first, [])
    home.ok("lock", "--upgrade-model", "ORG/licensed")
    assert [one["commit"] for one in models(home)] == [moved, quants]
    write(home, "org/licensed\norg/quants-GGUF:Q8_0\norg/quants-GGUF:Q4_K_M\n")
    home.ok("lock")
    assert [one["commit"] for one in models(home)] == [moved, quants, quants], "one branch, one commit"
    result = home.ok("lock", "--upgrade")
    assert [one["commit"] for one in models(home)] == [moved, also, also]
    assert f"from {quants[:12]} to {also[:12]}" in result.stderr
    home.fails("not_found", "lock", "--upgrade-model", "org/nothing", exit_code=23)


def test_a_small_change_is_a_small_diff(home: Home, hub: HoldfastHub, licensed: str) -> None:
    write(home, "org/licensed\n")
    home.ok("lock")
    before = locked(home).splitlines()
    files = {"README.md": CARD, "LICENSE": LICENCE, "config.json": b"{}", "model.safetensors": SMALL}
    hub.add("org/licensed", files)
    home.ok("lock", "--upgrade")
    changed = [line for line in locked(home).splitlines() if line not in before]
    assert [line.split("=")[0].strip(" {") for line in changed] == ["commit", "path"]


def test_check_says_how_the_lock_is_outdated_and_asks_nobody(
    home: Home, hub: HoldfastHub, licensed: str, quants: str
) -> None:
    assert home.run("lock", "--check").code == 2, "there is no list"
    write(home, "org/licensed\norg/quants-GGUF:Q8_0\n")
    assert home.run("lock", "--check").code == 1
    home.ok("lock")
    hub.requests.clear()
    home.ok("lock", "--check")
    write(home, "-c policy.txt\norg/licensed@v2\norg/quants-GGUF:Q8_0\n")
    write(home, "--max-size 10k\n--require-validated\n", "policy.txt")
    result = home.run("lock", "--check", "--json")
    assert (result.code, hub.requests) == (1, [])
    found = result.json["differences"]
    assert [line.split(":")[0] for line in found] == ["not locked", "outdated", "not wanted"]
    assert "policy.txt:1 allows 10.0 kB" in found[1]


def test_a_changed_line_is_locked_anew(home: Home, hub: HoldfastHub, licensed: str) -> None:
    second = hub.add("org/licensed", {"README.md": CARD, "model.safetensors": noise(1000)})
    hub.tag("org/licensed", "v1", licensed)
    write(home, "org/licensed@v1\n")
    home.ok("lock")
    assert models(home)[0]["commit"] == licensed
    write(home, f"org/licensed@{second}\n")
    home.ok("lock")
    assert (models(home)[0]["commit"], models(home)[0]["revision"]) == (second, second)
    write(home, f"org/licensed@{second} --hash sha256:{sha256(SMALL)}\n")
    home.fails("hash_mismatch", "lock")
    write(home, f"org/licensed@{second}:safetensors --hash sha256:{sha256(noise(1000))}\n")
    home.ok("lock")


def test_a_policy_holds_for_what_is_locked(home: Home, hub: HoldfastHub, licensed: str) -> None:
    write(home, "org/licensed\n")
    home.ok("lock")
    write(home, "--allow-licence mit\n", "policy.txt")
    error = home.fails("policy_denied", "lock", "-c", "policy.txt")
    assert error["rules"] == ["policy.txt:1"]
    home.fails("not_validated", "lock", "--require-validated")


def test_offline_the_cache_is_enough(home: Home, hub: HoldfastHub, licensed: str) -> None:
    write(home, "org/licensed\n")
    home.fails("not_found", "lock", "--offline", exit_code=23)
    home.ok("pull", "org/licensed")
    hub.requests.clear()
    home.ok("lock", "--offline")
    assert hub.requests == []
    offline = locked(home)
    (home.folder / "models.lock").unlink()
    home.ok("lock")
    assert locked(home) == offline


def test_an_index_that_lies_about_a_small_file_is_found_out(
    home: Home, hub: HoldfastHub, licensed: str
) -> None:
    hub.fault("corrupt", path="config.json", at=1)
    write(home, "org/licensed\n")
    home.fails("hash_mismatch", "lock")
    assert not (home.folder / "models.lock").exists()


def test_a_killed_lock_leaves_the_old_one_whole(home: Home, hub: HoldfastHub, licensed: str) -> None:
    write(home, "org/licensed\n")
    home.ok("lock")
    before = locked(home)
    hub.add("org/licensed", {"README.md": CARD, "model.safetensors": noise(1000)})
    hub.fault("stall", path="README.md", at=3)
    hub.requests.clear()
    process = home.start("lock", "--upgrade")
    wait_until(lambda: bool(hub.seen("resolve")) or process.poll() is not None)
    kill(process)
    assert locked(home) == before
    assert home.leftovers() == []


FILE = '{ path = "a", size_bytes = 1, sha256 = "' + "a" * 64 + '" }'
GOOD = {
    "requirement": '"org/a"', "index": '"https://h.example"', "repo_id": '"org/a"', "commit": f'"{"1" * 40}"',
    "files": f"[{FILE}]",
}  # fmt: skip


def text_of(**changed: str) -> str:
    rows = {**GOOD, **changed}
    return "version = 1\n[[model]]\n" + "".join(
        f"{name} = {value}\n" for name, value in rows.items() if value
    )


def test_the_good_lock_of_these_tests_is_good(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text(text_of())
    found = read_lock(tmp_path / "x.lock")
    assert found is not None
    assert [model.repo_id for model in found] == ["org/a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (text_of(commit='"main"'), "only a full commit is locked: a branch moves"),
        (text_of(commit=f'"{"1" * 40}\\n"'), "only a full commit"),
        (text_of().replace("version = 1", "version = 2"), "its version is 2"),
        (text_of().replace("version = 1", ""), "its version is None"),
        (text_of(files="[]"), "no files"),
        (text_of(files=""), "no files"),
        (text_of(files=f"[{FILE}, {FILE}]"), "locked twice"),
        (text_of() + text_of().replace("version = 1\n", ""), "locked twice"),
        (text_of(files='["a"]'), "not a list of tables"),
        (text_of(repo_id='"../../etc"'), "repo_id"),
        (text_of(revision='"../../x"'), "revision"),
        (text_of(index="7"), "index"),
        (text_of(files=f"[{FILE.replace('1,', '-1,')}]"), "has size -1"),
        (text_of(files=f"[{FILE.replace('1,', 'true,')}]"), "has size True"),
        (text_of(files=f"[{FILE.replace('a' * 64, 'a' * 63)}]"), "sha256"),
        ("model = 3", "its version is None"),
        ("version = 1\nmodel = 3", "not a list of tables"),
        ("version = 1\nx = " + "[" * 3000, "nested"),
        ("version = 1 = 2", "x.lock"),
        ("\x00", "x.lock"),
    ],
)  # fmt: skip
def test_a_lock_that_cannot_be_trusted_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.lock").write_text(text)
    with pytest.raises(BadLock) as caught:
        read_lock(tmp_path / "x.lock")
    assert words in caught.value.message


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a\\\\b", ".git/hooks/x", "a/../b", "\\u001b[2J"])
def test_a_lock_names_no_path_that_a_listing_may_not(tmp_path: Path, path: str) -> None:
    (tmp_path / "x.lock").write_text(
        text_of(files=f"[{FILE.replace(chr(34) + 'a' + chr(34), chr(34) + path + chr(34))}]")
    )
    with pytest.raises(HoldfastError) as caught:
        read_lock(tmp_path / "x.lock")
    assert caught.value.code == "unsafe_path"


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_whatever_a_lock_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    path, good = tmp_path_factory.getbasetemp() / "x.lock", text_of().encode()
    for text in (data, good[:at] + data[:2] + good[at + 1 :], good[:at]):
        path.write_bytes(text)
        try:
            read_lock(path)
        except HoldfastError:
            continue


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
digests = st.integers(0, 2**256 - 1).map("{:064x}".format)
files = st.builds(
    LockedFile, path=st.from_regex(r"\A[a-z]{1,8}\.[a-z]{1,3}\Z"), size_bytes=st.integers(0, 2**50),
    sha256=digests, git_oid=st.none() | st.just("b" * 40),
)  # fmt: skip
any_model = st.builds(
    LockedModel, requirement=texts, index=texts, repo_id=st.just("org/a"), revision=st.none() | st.just("v1/x"),
    commit=st.just("c" * 40), variant=st.none() | texts, licence=st.none() | texts, licence_sha256=st.none() | digests,
    verdicts=st.lists(st.builds(LockedVerdict, texts, texts, st.booleans(), st.none() | digests), max_size=2)
    .map(lambda rows: tuple(sorted(rows, key=lambda row: row.path))),
    files=st.lists(files, min_size=1, max_size=4, unique_by=lambda file: file.path)
    .map(lambda rows: tuple(sorted(rows, key=lambda row: row.path))),
)  # fmt: skip


@given(st.lists(any_model, max_size=3, unique_by=lambda model: model.requirement))
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, found: list[LockedModel]
) -> None:
    path = tmp_path_factory.mktemp("lock") / "x.lock"
    assert write_lock(path, found)
    assert not write_lock(path, found[::-1])
    assert read_lock(path) == tuple(sorted(found, key=lambda model: model.requirement))
    assert path.read_bytes() == lock_text(found).encode()
