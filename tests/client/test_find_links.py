"""Plain trees with a SHA256SUMS as a source: a folder, a web server, and what a hostile one might list."""

import functools
import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from holdfast.bundles.manifest import HERE, BundleFile, BundleRepo, write_manifest
from holdfast.errors import BadAnswer, UnsafePath
from holdfast.sources.archive import blob_key
from holdfast.sources.sums import commit_of as tree_commit
from holdfast.sources.sums import parse_sums

from tests.client.conftest import CARD, CONFIG, SMALL
from tests.client.running import Home
from tests.client.server import HoldfastHub

NOTHING_MATCHED = 23
FILES = {
    "README.md": CARD, "config.json": CONFIG, "empty.txt": b"", "sub folder/vocab+é#1.txt": b"a\nb\n",
    "model.safetensors": SMALL,
}  # fmt: skip


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plant(folder: Path, files: Mapping[str, bytes], sums: str | None = None) -> Path:
    """A repo as a plain folder, with the sums of its files unless others are given."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    lines = "".join(f"{sha256(data)}  {path}\n" for path, data in files.items())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SHA256SUMS").write_text(lines if sums is None else sums)
    return folder


def commit_of(files: Mapping[str, bytes]) -> str:
    """As docs/cli.md says it."""
    lines = "".join(f"{sha256(data)}  {path}\n" for path, data in sorted(files.items()))
    return sha256(lines.encode())[:40]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    plant(root / "org" / "model", FILES)
    return root


@pytest.fixture
def alone(home: Home, tree: Path) -> Home:
    """A person with a folder and no index."""
    home.env.update(HOLDFAST_NO_INDEX="1", HOLDFAST_FIND_LINKS=str(tree))
    return home


class Handler(SimpleHTTPRequestHandler):
    """The standard library's file server: no ranges. `asked` notes every request."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tree: Path) -> Iterator[tuple[str, list[str]]]:
    handler = type("Noting", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tree))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked
        server.shutdown()


def test_a_folder_with_sha256sums_is_pulled_into_the_cache(alone: Home, hub: HoldfastHub) -> None:
    pulled = alone.ok("pull", "org/model", "--json").json["pulled"][0]
    assert pulled["commit"] == commit_of(FILES)
    for path, data in FILES.items():
        assert (Path(pulled["path"]) / path).read_bytes() == data
    assert pulled["index"].startswith("file://")
    assert "all good" in alone.ok("check").stderr
    assert hub.requests == []


def test_one_file_and_a_format_are_chosen_as_from_an_index(alone: Home) -> None:
    told = alone.ok("pull", "org/model//config.json", "org/model:safetensors").stdout.splitlines()
    assert Path(told[0]).read_bytes() == CONFIG
    assert (Path(told[1]) / "model.safetensors").read_bytes() == SMALL


def test_the_commit_says_the_same_of_the_same_files_in_any_order(tree: Path) -> None:
    sums = (tree / "org" / "model" / "SHA256SUMS").read_text().splitlines()
    shuffled = "# a comment\n" + "\r\n".join(line.replace("  ", " *./") for line in reversed(sums)) + "\r\n"
    assert tree_commit(parse_sums(shuffled.encode(), listed_by="test")) == commit_of(FILES)
    other = {**FILES, "config.json": b"{}"}
    assert (
        tree_commit({path: sha256(data) for path, data in other.items()})
        == commit_of(other)
        != commit_of(FILES)
    )


def test_what_sha256sum_itself_writes_is_read(tmp_path: Path) -> None:
    """Also its BSD style."""
    folder = plant(tmp_path, {"a b.txt": CONFIG, "model.bin": SMALL}, "")
    wanted = {"a b.txt": sha256(CONFIG), "model.bin": sha256(SMALL)}
    for flags in ((), ("--tag",), ("--binary",)):
        text = subprocess.check_output(["sha256sum", *flags, "a b.txt", "model.bin"], cwd=folder)
        assert parse_sums(text, listed_by="test") == wanted


def test_a_folder_that_is_called_like_the_repo_may_hold_it_directly(
    home: Home, hub: HoldfastHub, tmp_path: Path
) -> None:
    folder = plant(tmp_path / "tiny", FILES)
    home.ok("pull", "org/tiny", "--no-index", "--find-links", str(folder))
    home.fails(
        "not_found", "pull", "org/model", "--no-index", "--find-links", str(folder), exit_code=NOTHING_MATCHED
    )
    assert hub.requests == []


def test_a_web_server_without_ranges_is_enough(
    home: Home, web: tuple[str, list[str]], hub: HoldfastHub
) -> None:
    url, asked = web
    path = home.ok("pull", "org/model", "--no-index", "--find-links", url, HOLDFAST_TOKEN="secret").path
    for name, data in FILES.items():
        assert (path / name).read_bytes() == data
    assert "/org/model/SHA256SUMS" in asked
    assert hub.requests == []


def test_a_bundle_behind_a_web_server_is_found_by_its_manifest(
    home: Home, web: tuple[str, list[str]], tree: Path
) -> None:
    file = BundleFile("model.safetensors", len(SMALL), sha256(SMALL), None, True, HERE)
    manifest = write_manifest([BundleRepo("org/bundled", "c" * 40, ("v1",), None, (file,))], [])
    plant(tree, {"bundle.json": manifest, blob_key(sha256(SMALL)): SMALL})
    path = home.ok("pull", "org/bundled@v1", "--no-index", "--find-links", web[0]).path
    assert (path / "model.safetensors").read_bytes() == SMALL
    assert path.name == "c" * 40


def test_find_links_come_before_the_index_and_the_index_still_knows_the_rest(
    home: Home, hub: HoldfastHub, tree: Path, model: str
) -> None:
    hub.add("org/other", {"config.json": CONFIG})
    home.env["HOLDFAST_FIND_LINKS"] = str(tree)
    assert home.ok("pull", "org/model", "--json").json["pulled"][0]["commit"] == commit_of(FILES)
    assert hub.requests == []
    assert home.ok("pull", "org/other", "--json").json["pulled"][0]["index"] == hub.url
    error = home.fails("not_found", "pull", f"org/model@{model}", exit_code=NOTHING_MATCHED)
    assert "is the first that knows org/model" in error["hint"]


def test_a_folder_that_is_not_there_is_not_passed_over(
    home: Home, hub: HoldfastHub, model: str, tmp_path: Path
) -> None:
    """Perhaps a disk is not mounted; the index might hold another repo of that name."""
    error = home.fails("bad_answer", "pull", "org/model", "--find-links", str(tmp_path / "nowhere"))
    assert "mounted" in error["hint"]
    assert hub.requests == []


def test_a_file_that_is_not_what_the_sums_say_is_refused(alone: Home, tree: Path) -> None:
    (tree / "org" / "model" / "model.safetensors").write_bytes(SMALL[:-1] + b"\0")
    alone.fails("hash_mismatch", "pull", "org/model")
    assert sha256(SMALL) not in alone.blobs()
    assert alone.leftovers() == []


def test_a_listed_file_that_is_missing_or_no_file_is_said(alone: Home, tree: Path) -> None:
    weights = tree / "org" / "model" / "model.safetensors"
    weights.unlink()
    alone.fails("not_found", "pull", "org/model", exit_code=NOTHING_MATCHED)
    os.mkfifo(weights)  # reading it would wait for ever
    alone.fails("bad_answer", "pull", "org/model")


def test_a_dangerous_name_reaches_neither_the_disk_nor_the_terminal(alone: Home, tree: Path) -> None:
    plant(
        tree / "org" / "evil",
        {"config.json": CONFIG},
        f"{sha256(CONFIG)}  config.json\n{'a' * 64}  x\x1b[2J\n",
    )
    result = alone.run("--json", "pull", "org/evil")
    assert result.json["error"]["code"] == "unsafe_path"
    assert "\x1b" not in result.stderr
    assert not list(alone.cache.rglob("config.json"))


@pytest.mark.parametrize(
    "path",
    [
        "../../escaped",
        "/tmp/escaped",
        "a/../../b",
        ".git/hooks/x",
        "x\x1b[2J",
        "a\\b",
        "a\u202eb",
        "x" * 5000,
        "C:x",
    ],
)
def test_a_dangerous_name_refuses_the_whole_list(path: str) -> None:
    with pytest.raises(UnsafePath):
        parse_sums(f"{'a' * 64}  config.json\n{'b' * 64}  {path}\n".encode(), listed_by="test")


@pytest.mark.parametrize(
    "text",
    [
        f"{'a' * 64}  x\n{'b' * 64}  x\n", f"{'a' * 64}  x\n{'a' * 64}  ./x\n", "<html>Please sign in</html>",
        f"{'a' * 64} x\n", f"{'a' * 64}  x\nabc  y\n", f"{'a' * 63}  x\n", f"{'a' * 64}  \udcff\n",
    ],
)  # fmt: skip
def test_a_list_that_sha256sum_cannot_have_written_is_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        parse_sums(text.encode("utf-8", "surrogateescape"), listed_by="test")


def test_an_escaped_name_is_read_as_sha256sum_means_it() -> None:
    """And then refused: no name of ours holds a line break or a backslash."""
    for written in ("x\\ny", "x\\\\y"):
        with pytest.raises(UnsafePath):
            parse_sums(f"\\{'a' * 64}  {written}\n".encode(), listed_by="test")


def test_names_that_are_one_file_on_many_disks_are_refused(alone: Home, tree: Path) -> None:
    plant(tree / "org" / "evil", {"Model.bin": CONFIG, "model.bin": CONFIG})
    alone.fails("unsafe_path", "pull", "org/evil")


def test_a_list_without_end_costs_no_memory(alone: Home, tree: Path) -> None:
    """70 MB of lines are refused at 64 MiB; a sparse file stands for them."""
    folder = plant(tree / "org" / "huge", {}, "")
    with (folder / "SHA256SUMS").open("wb") as file:
        file.truncate(70_000_000)
    error = alone.fails("bad_answer", "pull", "org/huge")
    assert re.search(r"longer than \d+ bytes", error["message"])
    many = "".join(f"{'a' * 64}  f{number}\n" for number in range(20_001))
    with pytest.raises(BadAnswer, match="more than 20000"):
        parse_sums(many.encode(), listed_by="test")
