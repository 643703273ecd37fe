"""An index that is absent, confused or hostile: a clear error with a stable code, and never a wrong byte in place."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import CARD, LARGE, SMALL
from tests.client.running import COMMAND, Home, wait_until
from tests.client.server import HoldfastHub
from tests.services.disks import tiny_disk

NOTHING_MATCHED = 23
USAGE = 2


def is_untouched(home: Home) -> bool:
    """No bytes under a final name, no snapshot, no ref, nothing half done."""
    published = [path for path in home.cache.rglob("*") if {"snapshots", "refs"} & set(path.parts)]
    return home.blobs() == {} and published == [] and home.leftovers() == []


# --- what does not exist ------------------------------------------------------------------------------------


def test_an_unknown_repo_is_named(home: Home, hub: HoldfastHub) -> None:
    error = home.fails("not_found", "pull", "org/nowhere", exit_code=NOTHING_MATCHED)
    assert "org/nowhere" in error["message"]
    assert "HOLDFAST_TOKEN" in error["hint"]


def test_an_unknown_revision_is_named(home: Home, model: str) -> None:
    error = home.fails("not_found", "pull", "org/model@v9", exit_code=NOTHING_MATCHED)
    assert "org/model@v9" in error["message"]
    home.fails("not_found", "pull", f"org/model@{'0' * 40}", exit_code=NOTHING_MATCHED)


def test_an_unknown_path_is_named(home: Home, model: str) -> None:
    error = home.fails("not_found", "pull", "org/model//nothing.bin", exit_code=NOTHING_MATCHED)
    assert "nothing.bin" in error["message"]


def test_patterns_that_match_nothing_are_an_error(home: Home, model: str) -> None:
    home.fails("not_found", "pull", "org/model", "--include", "*.gguf", exit_code=NOTHING_MATCHED)


def test_an_unknown_variant_lists_the_choices(home: Home, quants: str) -> None:
    error = home.fails("not_found", "pull", "org/quants-GGUF:IQ2_XXS", exit_code=NOTHING_MATCHED)
    assert [choice["variant"] for choice in error["choices"]] == ["Q4_K_M", "Q8_0", "F16"]
    shown = home.run("pull", "org/quants-GGUF:IQ2_XXS").stderr
    assert "  Q8_0      80.0 kB  quants-Q8_0.gguf\n" in shown


def test_an_unknown_variant_lists_what_the_index_knows(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.add("made/elsewhere", {"model-Q8_0.gguf": SMALL})
    hub.offer("org/model", "Q8_0", "made/elsewhere", "model-Q8_0.gguf")
    error = home.fails("not_found", "pull", "org/model:Q4_0", exit_code=NOTHING_MATCHED)
    assert [choice["variant"] for choice in error["choices"]] == ["safetensors", "Q8_0"]
    assert error["choices"][1]["verdict"] == "passed"


def test_a_repo_of_several_variants_is_not_pulled_whole_by_accident(home: Home, quants: str) -> None:
    error = home.fails("ambiguous_variant", "pull", "org/quants-GGUF")
    assert {choice["variant"] for choice in error["choices"]} == {"Q4_K_M", "Q8_0", "F16"}
    assert is_untouched(home)


def test_two_files_of_one_variant_are_told_apart_by_path(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/pair", {"a-Q8_0.gguf": SMALL, "b-Q8_0.gguf": CARD})
    error = home.fails("ambiguous_variant", "pull", "org/pair:Q8_0")
    assert "org/pair//" in error["hint"]


def test_a_variant_with_a_missing_shard_is_refused(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/torn", {"m-F16-00001-of-00003.gguf": SMALL, "m-F16-00003-of-00003.gguf": CARD})
    assert "2 of 3 shards" in home.fails("bad_answer", "pull", "org/torn:F16")["message"]


def test_a_malformed_reference_is_a_usage_error(home: Home) -> None:
    """test_reference.py has the grammar; these have slashes, a dash and a line break that a shell might pass."""
    for text in ("a/b/c/d", "-/x", "o/n@a\nb"):
        home.fails("usage", "pull", "--", text, exit_code=USAGE)


def test_a_malformed_setting_names_its_variable(home: Home) -> None:
    error = home.fails("usage", "pull", "o/n", exit_code=USAGE, HOLDFAST_INDEX_URL="ftp://somewhere")
    assert "HOLDFAST_INDEX_URL" in error["message"]
    assert (
        "credentials"
        in home.fails("usage", "-i", "http://me:pw@host", "pull", "o/n", exit_code=USAGE)["message"]
    )


# --- who may not ----------------------------------------------------------------------------------------------


def test_a_private_repo_opens_with_the_token_and_not_without(tmp_path: Path) -> None:
    with HoldfastHub(token="hf_secret") as hub:
        hub.add("org/private", {"a.txt": CARD})
        home = Home(tmp_path, hub.url)
        home.fails("not_found", "pull", "org/private", exit_code=NOTHING_MATCHED)
        home.ok("pull", "org/private", HOLDFAST_TOKEN="hf_secret")


def test_the_token_file_of_hugging_face_is_read(tmp_path: Path) -> None:
    with HoldfastHub(token="hf_secret") as hub:
        hub.add("org/private", {"a.txt": CARD})
        home = Home(tmp_path, hub.url)
        (tmp_path / "token").write_text("hf_secret\n")
        home.ok("pull", "org/private")


def test_a_gated_repo_says_where_to_accept_its_conditions(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("status", on="info", status=403, error_code="GatedRepo")
    assert hub.url in home.fails("gated", "pull", "org/model")["hint"]


def test_a_refused_token_is_an_auth_error(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("status", on="info", status=401)
    home.fails("auth", "pull", "org/model", HF_TOKEN="hf_wrong")


def test_the_token_never_leaves_the_index_it_is_for(tmp_path: Path) -> None:
    with HoldfastHub(cdn=True) as hub, HoldfastHub() as other:
        hub.add("org/model", {"model.safetensors": SMALL, "a.txt": CARD})
        other.add("org/model", {"a.txt": CARD})
        home = Home(tmp_path, hub.url, {"HOLDFAST_TOKEN": "hf_secret"})
        home.ok("pull", "org/model")
        assert all(seen.headers["authorization"] == "Bearer hf_secret" for seen in hub.seen("resolve"))
        assert ["authorization" in seen.headers for seen in hub.seen("cdn")] == [False]
        home.ok("pull", f"{other.url}/org/model", "--force")
        assert not any("authorization" in seen.headers for seen in other.requests)


def test_the_next_page_of_a_listing_on_another_host_gets_no_token(home: Home, hub: HoldfastHub) -> None:
    with HoldfastHub(page_size=1) as other:
        for one in (hub, other):
            one.add("org/model", {"a.txt": b"1", "b.txt": b"2"})
        hub.page_size, hub.url_of_next_page = 1, other.url
        home.ok("pull", "org/model", HOLDFAST_TOKEN="hf_secret")
        assert [("authorization" in seen.headers) for seen in other.seen("tree")] == [False]


# --- the network ------------------------------------------------------------------------------------------------


def test_nobody_listening_is_a_network_error_with_the_address(home: Home) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        error = home.fails("network", "pull", "org/model", "-i", address, "--retries", "1")
    assert address in error["message"]
    assert "refused" in error["message"]


def test_a_server_error_is_tried_again_and_then_told(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("status", on="info", status=502, times=2)
    hub.fault("status", status=500, times=2)
    home.ok("pull", "org/model")
    hub.fault("status", on="info", status=500)
    home.fails("network", "pull", "org/model", "--retries", "1")


def test_a_request_to_slow_down_is_honoured(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("status", on="info", status=429, retry_after=1, times=1)
    hub.fault("status", status=429, retry_after=1, times=3)
    result = home.ok("pull", "org/model", "-v")
    assert "-> 429" in result.stderr


def test_the_servers_own_words_are_passed_on(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("status", path="config.json", status=503, error_code="BytesUnavailable")
    error = home.fails("network", "pull", "org/model//config.json", "--retries", "0")
    assert "503: BytesUnavailable" in error["message"]


def test_a_pause_too_long_to_wait_for_is_told(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("status", on="info", status=429, retry_after=3600)
    assert home.fails("rate_limited", "pull", "org/model")["retry_after_seconds"] == 3600


def test_a_silent_connection_is_given_up_and_continued(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("stall", path="model-00002*", at=5_000_000, times=1)
    home.ok("pull", "org/model", "--timeout", "0.5")
    assert len(hub.seen("resolve", "model-00002*")) > 1


def test_a_proxy_that_answers_html_is_recognised(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("not-json", on="info")
    assert "login page" in home.fails("bad_answer", "pull", "org/model")["hint"]


def test_a_web_page_instead_of_a_file_is_refused(home: Home, hub: HoldfastHub, model: str) -> None:
    for path in ("config.json", "model-00002*"):
        hub.heal()
        hub.fault("html", path=path)
        assert "web page" in home.fails("bad_answer", "pull", "org/model")["message"]


def test_redirects_in_a_circle_or_to_another_scheme_end(home: Home, hub: HoldfastHub, model: str) -> None:
    for target in (
        f"{hub.url}/org/model/resolve/{model}/config.json",
        "file:///etc/passwd",
        "ftp://x/y",
        "http://",
    ):
        hub.heal()
        hub.fault("redirect", path="config.json", to=target)
        home.fails("bad_answer", "pull", "org/model//config.json")
    assert is_untouched(home)


# --- lies about bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
)
@pytest.mark.parametrize("lie", ["corrupt", "truncate", "pointer", "list-size"])
def test_bytes_that_are_not_the_listed_ones_never_get_a_name(
    home: Home, hub: HoldfastHub, model: str, path: str, lie: str
) -> None:
    hub.fault(lie, path=path, at=3, by=7, on="tree" if lie == "list-size" else "resolve")
    error = home.fails("hash_mismatch", "pull", f"org/model//{path}")
    assert path in error["message"]
    assert is_untouched(home)
    hub.heal()
    assert home.ok("pull", f"org/model//{path}").path.is_file()


@pytest.mark.parametrize(("lie", "path"), [("list-sha256", "model-00002*"), ("list-oid", "config.json")])
def test_a_listing_that_lies_about_a_digest_publishes_nothing(
    home: Home, hub: HoldfastHub, model: str, lie: str, path: str
) -> None:
    hub.fault(lie, path=path)
    hub.fault(lie, path=path, on="tree")
    error = home.fails("hash_mismatch", "pull", "org/model", "--include", path)
    assert error["expected"] != error["actual"]
    assert is_untouched(home)


def test_an_index_that_gives_two_digests_for_a_variant_is_refused(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    hub.add("made/elsewhere", {"model-Q8_0.gguf": SMALL})
    hub.offer("org/model", "Q8_0", "made/elsewhere", "model-Q8_0.gguf")
    hub.derived["org/model", "q8_0"]["files"][0]["sha256"] = "0" * 64
    home.fails("hash_mismatch", "pull", "org/model:Q8_0")


def test_a_server_that_ignores_ranges_still_gives_the_right_bytes(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    hub.fault("ignore-range")
    hub.fault("cut", at=7_000_000, path="model-00002*", times=1)
    hub.fault("cut", at=100, path="model-00001*", times=1)
    path = home.ok("pull", "org/model").path
    assert (path / "model-00002-of-00002.safetensors").read_bytes() == LARGE
    assert (path / "model-00001-of-00002.safetensors").read_bytes() == SMALL


def test_a_server_that_answers_another_range_is_refused(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("cut", at=7_000_000, path="model-00002*", times=1)
    hub.fault("wrong-206", path="model-00002*")
    home.fails("bad_answer", "pull", "org/model")


def test_bytes_the_connection_lost_are_asked_for_again(home: Home, hub: HoldfastHub, model: str) -> None:
    for at in (0, 1, 2, 1000, 65_536, 1_000_000, 4_194_304, 16_777_215):
        hub.fault("cut", at=at, times=2, path="*.safetensors")
    path = home.ok("pull", "org/model", "--retries", "8").path
    assert (path / "model-00002-of-00002.safetensors").read_bytes() == LARGE


def test_a_small_file_survives_a_cut_at_every_byte(home: Home, hub: HoldfastHub) -> None:
    content = bytes(range(24))
    hub.add("org/tiny", {"tiny.bin": content})
    hub.fault("cut", at=1, times=23)
    assert home.ok("pull", "org/tiny//tiny.bin").path.read_bytes() == content
    assert len(hub.seen("resolve")) == 24


# --- lies about names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/../../outside", "/etc/outside", "a//b", "./a", "C:outside", "a\\b", ".git/hooks/x", "a\x00b",
     "\x1b]0;owned\x07", "a\nb", "\u202egpj.exe", "x" * 300, ""],
)  # fmt: skip
def test_a_name_that_could_leave_the_folder_refuses_the_whole_listing(
    home: Home, hub: HoldfastHub, model: str, name: str
) -> None:
    hub.fault("list-path", on="tree", to=name)
    error = home.fails("unsafe_path", "pull", "org/model", "--dest", "taken/home")
    assert error["path"] == name
    assert is_untouched(home)
    assert list(home.folder.iterdir()) == []
    shown = home.run("pull", "org/model").stderr
    assert all(char.isprintable() or char == "\n" for char in shown), shown


def test_names_that_are_one_on_other_disks_are_refused(home: Home, hub: HoldfastHub) -> None:
    for pair in (("a.txt", "A.TXT"), ("é.txt", "e\u0301.txt"), ("a", "A/b"), ("x/a", "X/b")):
        hub.add("org/clash", dict.fromkeys(pair, b"x"))
        error = home.fails("unsafe_path", "pull", "org/clash")
        assert {error["path"].split("/")[0], error["other"].split("/")[0]} == {
            name.split("/")[0] for name in pair
        }
    hub.add("org/clash", {"a.txt": b"1", "A.TXT": b"2"})
    home.ok("pull", "org/clash", "--exclude", "A.TXT")


def test_a_listing_that_never_ends_ends(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("list-loop", on="tree")
    home.fails("bad_answer", "pull", "org/model")
    assert len(hub.seen("tree")) < 5


def test_what_a_server_says_cannot_move_the_cursor(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.choices["org/model"] = [
        {
            "variant": "Q8\x1b[2J",
            "repo_id": "a\rb/c",
            "path": "\x9b31m",
            "size_bytes": 1,
            "verdict": "\u202eok",
        }
    ]
    shown = home.run("pull", "org/model:Q4_0").stderr
    assert all(char.isprintable() or char == "\n" for char in shown), shown
    assert "Q8\\x1b[2J" in shown


# --- the disk ---------------------------------------------------------------------------------------------------


def test_a_plan_that_does_not_fit_is_refused_before_a_byte(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.fault("list-size", path="model-00001*", on="tree", by=10**15)
    error = home.fails("no_space", "pull", "org/model")
    assert error["needed_bytes"] > 10**15 > error["free_bytes"]
    assert is_untouched(home)
    assert hub.seen("resolve") == []


def test_a_disk_that_fills_up_keeps_what_came(home: Home, hub: HoldfastHub, model: str) -> None:
    """A limit on file size fails the write as a full disk does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        home.fails("no_space", "pull", "org/model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert home.ok("pull", "org/model").path.is_dir()


def test_a_disk_that_somebody_else_fills_keeps_what_came(
    hub: HoldfastHub, model: str, tmp_path: Path
) -> None:
    hub.fault("slow", path="model-00002*", rate=20_000_000)
    with tiny_disk(tmp_path / "disk", 64) as disk:
        home = Home(disk, hub.url)
        process = home.start("--json", "pull", "org/model")
        wait_until(lambda: any(path.stat().st_blocks > 4096 for path in home.cache.rglob("*.incomplete")))
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        error = json.loads(process.communicate(timeout=60)[0])["error"]
        assert (process.returncode, error["code"]) == (1, "no_space")
        filler.unlink()
        hub.heal()
        fetched = home.ok("--json", "pull", "org/model").json["pulled"][0]["fetched_bytes"]
        assert fetched < len(LARGE) - 2_000_000
        assert home.leftovers() == []


@pytest.fixture
def as_nobody(hub: HoldfastHub) -> Iterator[Home]:
    """A home whose owner the process is not."""
    if os.getuid() != 0:
        pytest.skip("needs root, to run the client as another user")
    folder = Path(tempfile.mkdtemp(prefix="holdfast-home-"))
    folder.chmod(0o755)
    yield Home(folder, hub.url)
    shutil.rmtree(folder)


def test_a_read_only_cache_serves_what_it_has_and_says_what_it_cannot(as_nobody: Home, model: str) -> None:
    as_nobody.ok("pull", "org/model//README.md")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv, to run the client as another user")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", *COMMAND, *arguments]
        return subprocess.run(
            command, env=as_nobody.environment(), capture_output=True, text=True, check=False
        )

    held = run("pull", "org/model//README.md")
    assert (held.returncode, Path(held.stdout.strip()).read_bytes()) == (0, CARD), held.stderr
    assert run("check").returncode == run("list").returncode == 0
    missing = run("pull", "org/model//config.json")
    assert missing.returncode == 1
    assert "error: cannot write" in missing.stderr
    assert "--cache-dir" in missing.stderr


def test_offline_without_the_files_says_what_is_missing(home: Home, model: str) -> None:
    home.fails("not_found", "pull", "org/model", "--offline", exit_code=NOTHING_MATCHED)
    home.ok("pull", "org/model//README.md")
    error = home.fails("offline", "pull", "org/model", "--offline")
    assert "config.json" in error["missing"]


def test_an_unexpected_error_is_one_line_and_a_traceback_only_if_asked(home: Home, model: str) -> None:
    (home.folder / "hub").write_text("not a folder")
    plain, curious = home.run("pull", "org/model"), home.run("pull", "org/model", "-vv")
    assert (plain.code, "Traceback" in plain.stderr) == (1, False)
    assert "Traceback" in curious.stderr
