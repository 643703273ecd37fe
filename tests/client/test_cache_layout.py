"""One cache for everybody: what we pull, huggingface_hub finds; what it pulled, we know."""

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.client.conftest import LARGE, SMALL, noise
from tests.client.running import Home
from tests.client.server import HoldfastHub


def huggingface(home: Home, code: str, **env: str) -> str:
    """Runs code with the real huggingface_hub against this home; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", "from huggingface_hub import *\n" + textwrap.dedent(code)],
        env={
            **home.environment(), "HF_ENDPOINT": home.index_url, "HF_HUB_DISABLE_XET": "1", "PYTHONWARNINGS": "ignore",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **env,
        },
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_huggingface_hub_finds_a_pulled_repo_without_asking_anybody(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    ours = home.ok("pull", "org/model").stdout.strip()
    hub.requests.clear()
    assert huggingface(home, "print(snapshot_download('org/model', local_files_only=True))") == ours
    assert (
        huggingface(home, f"print(snapshot_download('org/model', revision='{model}', local_files_only=True))")
        == ours
    )
    one = (
        "print(hf_hub_download('org/model', 'vocab+é#1.txt', subfolder='sub folder', local_files_only=True))"
    )
    assert Path(huggingface(home, one)).read_bytes() == b"a\nb\n"
    assert [seen.target for seen in hub.requests if seen.target != "/api/agent-harnesses"] == []


def test_huggingface_hub_fetches_nothing_again_online(home: Home, hub: HoldfastHub, model: str) -> None:
    ours = home.ok("pull", "org/model").stdout.strip()
    hub.requests.clear()
    assert huggingface(home, "print(snapshot_download('org/model'))") == ours
    assert hub.seen("resolve") == []
    assert hub.seen("tree") == []


def test_huggingface_hub_knows_that_a_pulled_variant_is_not_the_whole_repo(home: Home, quants: str) -> None:
    path = home.ok("pull", "org/quants-GGUF:Q8_0").path
    found = "hf_hub_download('org/quants-GGUF', 'quants-Q8_0.gguf', local_files_only=True)"
    assert huggingface(home, f"print({found})") == str(path)
    code = """
        try:
            snapshot_download('org/quants-GGUF', local_files_only=True)
        except Exception as error:
            print(type(error).__name__)
    """
    assert huggingface(home, code) == "IncompleteSnapshotError"


def test_its_scan_of_the_cache_sees_no_fault_in_ours(home: Home, model: str, quants: str) -> None:
    home.ok("pull", "org/model")
    home.ok("pull", "org/quants-GGUF:Q8_0")
    code = """
        info = scan_cache_dir()
        print(len(info.warnings), sorted((repo.repo_id, repo.nb_files, repo.size_on_disk) for repo in info.repos))
    """
    assert huggingface(home, code) == "0 [('org/model', 7, 20300046), ('org/quants-GGUF', 1, 80000)]"


def test_its_verification_of_our_cache_passes(home: Home, model: str) -> None:
    home.ok("pull", "org/model")
    print_mismatches = "print(HfApi().verify_repo_checksums('org/model').mismatches)"
    assert huggingface(home, print_mismatches) == "[]"


def test_a_cache_that_huggingface_hub_filled_is_listed_checked_and_not_fetched_again(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    theirs = huggingface(home, "print(snapshot_download('org/model'))")
    listed = home.ok("list", "--json").json["snapshots"]
    assert [(one["repo_id"], one["commit"], one["refs"], one["files"]) for one in listed] == [
        ("org/model", model, ["main"], 7)
    ]
    assert "all good" in home.ok("check").stderr
    hub.requests.clear()
    assert home.ok("pull", "org/model").stdout.strip() == theirs
    assert hub.seen("resolve") == []
    assert home.ok("pull", "org/model", "--offline").stdout.strip() == theirs


def test_the_folders_of_both_are_name_for_name_the_same(hub: HoldfastHub, model: str, tmp_path: Path) -> None:
    ours, theirs = Home(tmp_path / "ours", hub.url), Home(tmp_path / "theirs", hub.url)
    for home in (ours, theirs):
        home.folder.mkdir()
    ours.ok("pull", "org/model")
    huggingface(theirs, "snapshot_download('org/model')")

    def names(home: Home) -> list[str]:
        return sorted(
            path.relative_to(home.cache).as_posix()
            for path in home.cache.rglob("*")
            if path.name not in ("empty.txt", "holdfast.use")  # the second is our lock against removals
        )

    assert names(ours) == names(theirs)
    for name in names(ours):
        one, other = ours.cache / name, theirs.cache / name
        assert one.is_symlink() == other.is_symlink()
        if one.is_symlink():
            assert one.readlink() == other.readlink()
        elif one.is_file() and one.name != "CACHEDIR.TAG":
            assert one.read_bytes() == other.read_bytes(), name


def test_an_unfinished_pull_is_not_continued_by_an_older_huggingface_hub(home: Home, model: str) -> None:
    """Before 1.0 it appends to `<etag>.incomplete`; ours has holes, so no file of that name may exist."""
    home.ok("pull", "org/model")
    names = {path.name for path in (home.cache / "models--org--model" / "blobs").iterdir()}
    assert not any(name.endswith(".incomplete") and name.count(".") == 1 for name in names)


def test_repos_without_an_owner_are_understood(home: Home, hub: HoldfastHub) -> None:
    snapshot = home.cache / "models--gpt2" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(b"{}")
    (home.cache / "datasets--org--data").mkdir()
    (home.cache / "version.txt").write_text("1")
    assert [one["repo_id"] for one in home.ok("list", "--json").json["snapshots"]] == ["gpt2"]
    assert "1 without a known digest" in home.ok("check").stderr


def test_large_and_small_blobs_of_the_same_repo_share_their_names_with_other_revisions(
    home: Home, hub: HoldfastHub
) -> None:
    hub.add("org/model", {"a.bin": LARGE, "b.bin": SMALL})
    home.ok("pull", "org/model")
    hub.add("org/model", {"moved.bin": LARGE, "b.bin": noise(10)})
    pulled = home.ok("pull", "org/model", "--json").json["pulled"][0]
    assert pulled["fetched_bytes"] == 10
