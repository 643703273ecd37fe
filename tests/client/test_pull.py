"""`holdfast pull` on a good day: what is fetched, where it ends, what is printed."""

import hashlib
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.client.conftest import CARD, LARGE, SMALL, noise
from tests.client.running import COMMAND, Home
from tests.client.server import HoldfastHub


def test_a_whole_repo_lands_in_the_hugging_face_cache_layout(home: Home, model: str) -> None:
    result = home.ok("pull", "org/model")
    snapshot = home.cache / "models--org--model" / "snapshots" / model
    assert result.stdout == f"{snapshot}\n"
    assert (snapshot / "model-00002-of-00002.safetensors").read_bytes() == LARGE
    assert (snapshot / "sub folder" / "vocab+é#1.txt").read_bytes() == b"a\nb\n"
    assert (snapshot / "empty.txt").read_bytes() == b""
    assert (home.cache / "models--org--model" / "refs" / "main").read_text() == model
    assert str((snapshot / "README.md").readlink()).startswith("../../blobs/")
    assert home.leftovers() == []


def test_blobs_are_named_by_the_digest_the_index_lists(home: Home, model: str) -> None:
    home.ok("pull", "org/model")
    blobs = home.blobs()
    assert blobs[hashlib.sha256(LARGE).hexdigest()] == LARGE
    git_name = hashlib.sha1(b"blob %d\0" % len(CARD) + CARD).hexdigest()
    assert blobs[git_name] == CARD
    assert len(blobs) == 7


def test_a_second_pull_fetches_no_bytes_again(home: Home, hub: HoldfastHub, model: str) -> None:
    first = home.ok("pull", "org/model")
    hub.requests.clear()
    second = home.ok("pull", "org/model")
    assert second.stdout == first.stdout
    assert hub.seen("resolve") == []
    assert "here already" in second.stderr


def test_a_full_commit_that_is_here_needs_no_request_at_all(home: Home, hub: HoldfastHub, model: str) -> None:
    home.ok("pull", "org/model")
    hub.requests.clear()
    home.ok("pull", f"org/model@{model}")
    assert hub.requests == []


def test_a_new_commit_fetches_only_what_changed(home: Home, hub: HoldfastHub, model: str) -> None:
    home.ok("pull", "org/model")
    hub.add("org/model", {"README.md": b"new\n", "model.safetensors": SMALL})
    hub.requests.clear()
    home.ok("pull", "org/model")
    assert [seen.path for seen in hub.seen("resolve")] == ["README.md"]


def test_a_tag_a_branch_with_a_slash_and_a_commit_are_revisions(home: Home, hub: HoldfastHub) -> None:
    first = hub.add("org/model", {"a.txt": b"1"})
    hub.tag("org/model", "v1.0", first)
    second = hub.add("org/model", {"a.txt": b"2"}, branch="feat/x")
    for revision, content in (("v1.0", b"1"), ("feat/x", b"2"), (second, b"2"), (first, b"1")):
        assert (home.ok("pull", f"org/model@{revision}").path / "a.txt").read_bytes() == content
    refs = home.cache / "models--org--model" / "refs"
    assert (refs / "feat" / "x").read_text() == second
    assert sorted(path.name for path in refs.rglob("*") if path.is_file()) == ["v1.0", "x"]


def test_a_path_fetches_one_file_and_prints_its_path(home: Home, hub: HoldfastHub, model: str) -> None:
    result = home.ok("pull", "org/model//config.json")
    assert result.path.name == "config.json"
    assert [seen.path for seen in hub.seen("resolve")] == ["config.json"]


def test_a_path_may_be_a_folder(home: Home, model: str) -> None:
    assert [path.name for path in (home.ok("pull", "org/model//sub folder").path).iterdir()] == ["sub folder"]


def test_patterns_choose_files(home: Home, model: str) -> None:
    path = home.ok(
        "pull", "org/model", "--include", "*.json", "--include", "*.md", "--exclude", "model.*"
    ).path
    assert sorted(file.name for file in path.iterdir()) == ["README.md", "config.json"]


def test_a_variant_fetches_its_file_and_prints_its_path(home: Home, hub: HoldfastHub, quants: str) -> None:
    result = home.ok("pull", "org/quants-GGUF:q4_k_m")
    assert result.path.name == "quants-Q4_K_M.gguf"
    assert result.path.read_bytes() == noise(40_000, 4)
    assert len(hub.seen("resolve")) == 1


def test_a_variant_in_shards_fetches_all_of_them_and_prints_the_first(home: Home, quants: str) -> None:
    path = home.ok("pull", "org/quants-GGUF:F16").path
    assert path.name == "quants-F16-00001-of-00002.gguf"
    assert path.with_name("quants-F16-00002-of-00002.gguf").read_bytes() == noise(70_000, 17)


def test_a_variant_can_be_named_by_its_file(home: Home, quants: str) -> None:
    assert home.ok("pull", "org/quants-GGUF:quants-Q8_0.gguf").path.read_bytes() == noise(80_000, 8)


def test_a_variant_of_a_base_repo_is_found_where_the_index_keeps_it(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    hub.add("made/elsewhere", {"model-Q8_0.gguf": SMALL, "other-Q8_0.gguf": LARGE})
    hub.offer("org/model", "Q8_0", "made/elsewhere", "model-Q8_0.gguf")
    path = home.ok("pull", "org/model:q8_0").path
    assert "models--made--elsewhere" in str(path)
    assert path.read_bytes() == SMALL


def test_a_plain_hub_is_asked_for_the_gguf_repo_beside(home: Home, hub: HoldfastHub, quants: str) -> None:
    hub.add("org/quants", {"config.json": b"{}", "model.safetensors": SMALL})
    hub.fault("status", on="variant", status=404)
    assert home.ok("pull", "org/quants:Q8_0").path.read_bytes() == noise(80_000, 8)


def test_a_format_is_the_repo_without_the_weights_of_others(home: Home, hub: HoldfastHub) -> None:
    files = {
        "config.json": b"{}",
        "model.safetensors": b"s",
        "pytorch_model.bin": b"p",
        "m.gguf": b"g",
        "m.h5": b"h",
    }
    hub.add("org/mixed", files)
    path = home.ok("pull", "org/mixed:SafeTensors").path
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "model.safetensors"]


def test_several_references_print_a_path_each(home: Home, model: str, quants: str) -> None:
    result = home.ok("pull", "org/model//README.md", "org/quants-GGUF:Q8_0")
    assert [Path(line).name for line in result.stdout.splitlines()] == ["README.md", "quants-Q8_0.gguf"]


def test_equal_files_are_fetched_once(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/twins", {"a.bin": SMALL, "b.bin": SMALL})
    path = home.ok("pull", "org/twins").path
    assert (path / "a.bin").read_bytes() == (path / "b.bin").read_bytes() == SMALL
    assert len(hub.seen("resolve")) == 1


def test_the_plan_comes_before_the_bytes_and_a_dry_run_ends_there(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    result = home.ok("pull", "org/model", "--dry-run")
    assert "20.0 MB  model-00002-of-00002.safetensors" in result.stderr
    assert result.stdout == ""
    assert hub.seen("resolve") == []
    assert not home.cache.exists()


def test_json_is_the_only_thing_on_stdout(home: Home, model: str) -> None:
    pulled = home.ok("pull", "org/model@main//config.json", "--json").json["pulled"][0]
    assert (pulled["repo_id"], pulled["commit"], pulled["revision"]) == ("org/model", model, "main")
    assert pulled["files"][0]["state"] == "fetched"
    assert Path(pulled["files"][0]["local_path"]).is_file()
    assert pulled["fetched_bytes"] == pulled["size_bytes"] == 24


def test_quiet_prints_the_path_and_nothing_else(home: Home, model: str) -> None:
    result = home.ok("-q", "pull", "org/model")
    assert result.stderr == ""
    assert result.path.is_dir()


def test_global_flags_work_before_and_after_the_command(home: Home, hub: HoldfastHub, model: str) -> None:
    for arguments in (("-i", hub.url, "-q", "pull", "org/model"), ("pull", "org/model", "-i", hub.url, "-q")):
        assert home.ok(*arguments, HOLDFAST_INDEX_URL="http://127.0.0.1:1").stderr == ""


def test_install_and_download_are_other_words_for_pull(home: Home, model: str) -> None:
    assert home.ok("install", "org/model//README.md").path == home.ok("download", "org/model//README.md").path


def test_a_reference_may_name_its_index(home: Home, hub: HoldfastHub, model: str) -> None:
    home.index_url = "http://127.0.0.1:1"
    assert home.ok("pull", f"{hub.url}/org/model@main//README.md").path.read_bytes() == CARD
    assert home.ok("pull", f"{hub.address}/org/model@main//README.md").path.read_bytes() == CARD
    assert home.ok("pull", "hf://org/model//config.json", HF_ENDPOINT=hub.url).path.is_file()


def test_the_listing_is_read_over_all_its_pages(home: Home, hub: HoldfastHub) -> None:
    hub.page_size = 7
    hub.add("org/many", {f"folder/{n:03}.txt": str(n).encode() for n in range(40)})
    assert len(list((home.ok("pull", "org/many").path / "folder").iterdir())) == 40


def test_bytes_may_come_from_another_host(tmp_path: Path) -> None:
    with HoldfastHub(cdn=True) as hub:
        hub.add("org/model", {"model.safetensors": LARGE})
        home = Home(tmp_path, hub.url)
        assert (home.ok("pull", "org/model").path / "model.safetensors").read_bytes() == LARGE
        assert hub.seen("cdn") != []


def test_offline_answers_from_the_cache_and_asks_nobody(home: Home, hub: HoldfastHub, model: str) -> None:
    online = home.ok("pull", "org/model")
    hub.requests.clear()
    assert home.ok("pull", "org/model", "--offline").stdout == online.stdout
    assert home.ok("pull", "org/model", HF_HUB_OFFLINE="1").stdout == online.stdout
    assert hub.requests == []


def test_without_links_the_snapshot_holds_the_bytes(home: Home, model: str) -> None:
    path = home.ok("pull", "org/model", HF_HUB_DISABLE_SYMLINKS="1").path
    assert not (path / "README.md").is_symlink()
    assert (path / "model-00002-of-00002.safetensors").read_bytes() == LARGE
    assert "here already" in home.ok("pull", "org/model", HF_HUB_DISABLE_SYMLINKS="1").stderr
    assert (path / "README.md").stat().st_nlink == 2, "a hard link costs no space"


def at_a_terminal(home: Home, answer: bytes, *arguments: str, **env: str) -> tuple[int, str]:
    """Runs with a terminal on all three streams and types the answer."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], env={**home.environment(), "TERM": "xterm", **env}, cwd=home.folder,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answer)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the terminal is gone: they have ended
        pass
    os.close(ours)
    return process.wait(), shown.decode()


def test_at_a_terminal_a_person_chooses_the_variant(home: Home, quants: str) -> None:
    code, shown = at_a_terminal(home, b"9\n2\n", "pull", "org/quants-GGUF")
    assert code == 0, shown
    assert "There is no '9' above" in shown
    assert "quants-Q8_0.gguf" in shown.splitlines()[-1]


def test_at_a_terminal_an_empty_answer_stops(home: Home, quants: str) -> None:
    code, shown = at_a_terminal(home, b"\n", "pull", "org/quants-GGUF")
    assert (code, "nothing chosen" in shown) == (1, True)


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_at_a_terminal_a_large_pull_asks_first(home: Home, model: str, answer: bytes, code: int) -> None:
    got, shown = at_a_terminal(home, answer, "pull", "org/model", HOLDFAST_ASK_ABOVE="1000000")
    assert got == code, shown
    assert "Fetch 7 files, 20.3 MB? [Y/n]" in shown


def test_yes_and_no_input_and_no_terminal_never_ask(home: Home, model: str) -> None:
    home.ok("pull", "org/model", HOLDFAST_ASK_ABOVE="1")
    for flag in ("-y", "--no-input"):
        code, shown = at_a_terminal(home, b"", "pull", "org/model", "--force", flag, HOLDFAST_ASK_ABOVE="1")
        assert (code, "[Y/n]" in shown) == (0, False), shown


def test_at_a_terminal_every_file_and_the_total_have_a_line(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("slow", path="model-00002*", rate=20_000_000)
    code, shown = at_a_terminal(home, b"", "pull", "org/model")
    assert code == 0
    assert "7 files" in shown
    assert re.search(r"model-00002-of-00002\.saf\S*.*\d+\.\d/20\.0 MB", shown)
    assert "verified    20.0 MB  model-00002-of-00002.safetensors" in shown
