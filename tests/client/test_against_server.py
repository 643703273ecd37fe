"""The client and our own server, both as real processes: what the one serves, the other takes home verified."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.client.running import Home, kill, wait_until
from tests.services.deployment import ROOT, Deployment

SAMPLE = ROOT / "deploy" / "samples" / "tinyfamily" / "base-f32"
NOTHING_MATCHED = 23
BIG_BYTES = 200_000_000

RECORD = """
import random
from registry.models import Job, Repo
from registry.work import run_job
from tests.checkpoints import record_commit, record_tag
big = random.Random(5).randbytes({big})
record_tag(record_commit("acme/big", {{"model.safetensors": big, "config.json": b"{{}}"}}), "v1.0")
record_commit("acme/big", {{"config.json": b"{{}}"}}, branch="feat/x")
record_commit("acme/secret", {{"config.json": b"{{}}"}}, private=True)
record_commit("acme/gated", {{"config.json": b"{{}}"}})
Repo.objects.filter(repo_id="acme/gated").update(gated="auto")
for job in Job.objects.filter(kind="inspect", state="queued"):
    run_job(job.pk)
"""


class Server(NamedTuple):
    """A running Holdfast that holds a checkpoint, its Q8_0 artifact, a large repo and a private one."""

    deployment: Deployment
    url: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Deployment(tmp_path_factory.mktemp("server")) as deployment:
        deployment.manage("mirror", f"dir:{SAMPLE}", "--as", "tinyfamily/base")
        deployment.manage("convert", "tinyfamily/base", "--to", "Q8_0")
        deployment.manage("validate", "tinyfamily/base")
        deployment.manage("shell", "-c", RECORD.format(big=BIG_BYTES))
        yield Server(deployment, deployment.start_web())


@pytest.fixture
def home(server: Server, tmp_path: Path) -> Home:
    return Home(tmp_path, server.url)


def test_a_mirrored_checkpoint_comes_home_byte_for_byte(home: Home) -> None:
    path = home.ok("pull", "tinyfamily/base").path
    for file in SAMPLE.rglob("*"):
        if file.is_file():
            assert (path / file.relative_to(SAMPLE)).read_bytes() == file.read_bytes()
    assert "all good" in home.ok("check").stderr


def test_an_artifact_is_found_by_the_name_of_its_parent(home: Home) -> None:
    result = home.ok("pull", "tinyfamily/base:q8_0", "--json").json["pulled"][0]
    assert result["repo_id"] == "tinyfamily/base-GGUF"
    assert Path(result["path"]).read_bytes()[:4] == b"GGUF"
    refs = home.cache / "models--tinyfamily--base-GGUF" / "refs" / "main"
    assert refs.read_text() == result["commit"]


def test_an_unknown_variant_lists_the_choices_with_their_verdicts(home: Home) -> None:
    error = home.fails("not_found", "pull", "tinyfamily/base:Q2_K", exit_code=NOTHING_MATCHED)
    verdicts = {choice["variant"]: choice["verdict"] for choice in error["choices"]}
    assert verdicts["Q8_0"] == "verified"


def test_the_server_says_what_is_missing(home: Home) -> None:
    for reference in (
        "nobody/nothing",
        "tinyfamily/base@v9",
        f"tinyfamily/base@{'0' * 40}",
        "tinyfamily/base//no",
    ):
        home.fails("not_found", "pull", reference, exit_code=NOTHING_MATCHED)


def test_branches_with_a_slash_and_tags_are_revisions(home: Home) -> None:
    assert len(list(home.ok("pull", "acme/big@feat/x").path.iterdir())) == 1
    assert home.ok("pull", "acme/big@v1.0//config.json").path.read_bytes() == b"{}"


def test_a_private_repo_looks_absent_and_opens_with_a_token(home: Home, server: Server) -> None:
    home.fails("not_found", "pull", "acme/secret", exit_code=NOTHING_MATCHED)
    home.fails("auth", "pull", "acme/secret", HOLDFAST_TOKEN="hf_" + "x" * 34)
    code = "from django.contrib.auth.models import User; User.objects.create_superuser('root')"
    server.deployment.manage("shell", "-c", code)
    token = json.loads(server.deployment.manage("token", "create", "root", "--json").stdout)["token"]
    assert home.ok("pull", "acme/secret", HOLDFAST_TOKEN=token).path.is_dir()


def test_a_login_is_checked_kept_and_forgotten(home: Home, server: Server) -> None:
    code = "from django.contrib.auth.models import User; User.objects.create_superuser('ada')"
    server.deployment.manage("shell", "-c", code)
    made = server.deployment.manage("token", "create", "ada", "--name", "laptop", "--json")
    home.ok("login", "--token", json.loads(made.stdout)["token"])
    found = home.ok("whoami", "--json").json
    assert (found["user"], found["token"]["name"]) == ("ada", "laptop")
    assert home.ok("pull", "acme/secret").path.is_dir()
    home.ok("logout")
    home.fails("not_found", "pull", "acme/secret", "--force", exit_code=NOTHING_MATCHED)
    home.fails("auth", "login", "--token", "hf_nobodys")


def test_killed_and_run_again_it_goes_on_where_it_stopped(home: Home) -> None:
    process = home.start("pull", "acme/big@v1.0")
    staged = home.cache / "models--acme--big" / "blobs"
    wait_until(lambda: any(staged.glob("*.parts")) or process.poll() is not None)
    kill(process)
    kept = sum(
        count
        for path in staged.glob("*.parts")
        for (count,) in struct.iter_unpack("<Q", path.read_bytes()[24:])
    )
    pulled = home.ok("pull", "acme/big@v1.0", "--json").json["pulled"][0]
    assert pulled["fetched_bytes"] <= BIG_BYTES + 2 - kept
    assert "all good" in home.ok("check").stderr
    assert home.leftovers() == []


def test_several_people_pull_at_once(server: Server, tmp_path: Path) -> None:
    homes = [Home(tmp_path / str(n), server.url) for n in range(4)]
    for home in homes:
        home.folder.mkdir()
    processes = [home.start("-q", "pull", "acme/big@v1.0") for home in homes]
    shown = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, shown
    assert {max(map(len, home.blobs().values())) for home in homes} == {BIG_BYTES}
    assert len({name for home in homes for name in home.blobs()}) == 2


def test_a_gated_repo_shows_its_name_and_keeps_its_files(home: Home) -> None:
    home.ok("pull", "acme/gated", "--dry-run")
    home.fails("gated", "pull", "acme/gated")


def test_show_tells_lineage_copies_and_verdicts(home: Home) -> None:
    found = home.ok("show", "tinyfamily/base", "--json").json
    assert (found["children"][0]["repo_id"], found["children"][0]["relation"]) == (
        "tinyfamily/base-GGUF",
        "quantized",
    )
    assert found["copies"]["is_complete"]
    choices = {choice["variant"]: choice for choice in found["choices"]}
    assert (choices["Q8_0"]["verdict"], choices["Q8_0"]["mean_kld"] < 0.1) == ("verified", True)
    assert 8 < choices["Q8_0"]["bits_per_weight"] < 16
    assert home.ok("show", "tinyfamily/base-GGUF", "--readme").stdout


def test_the_best_of_a_checkpoint_is_the_artifact_that_fits(home: Home) -> None:
    result = home.ok("pull", "tinyfamily/base:best", "--json", HOLDFAST_MEMORY="1G").json["pulled"][0]
    assert (result["repo_id"], result["variant"]) == ("tinyfamily/base-GGUF", "Q8_0")
    assert "for 512 tokens of context fits in 1.0 GB" in result["reason"]
    home.fails("does_not_fit", "pull", "tinyfamily/base:best", HOLDFAST_MEMORY="1k")


def test_search_finds_by_what_only_the_server_knows(home: Home) -> None:
    flags = ["--quant", "Q8_0", "--validated", "--format", "gguf", "--author", "tinyfamily"]
    (found,) = home.ok("search", "base", *flags, "--json").json["models"]
    assert (found["repo_id"], found["verdict"]) == ("tinyfamily/base-GGUF", "verified")
    assert home.run("search", "--quant", "Q2_K").code == NOTHING_MATCHED
    assert home.run("search", "--upstream-gone").code == NOTHING_MATCHED
    names = [home.ok("-q", "search", "--limit", "2", "--page", page).stdout.split() for page in ("1", "2")]
    assert len({name for page in names for name in page}) == 4


def test_versions_are_those_of_the_server(home: Home) -> None:
    lines = home.ok("-q", "index", "versions", "acme/big").stdout.split()
    assert lines[:3] == ["main", "feat/x", "v1.0"]


def test_a_stray_file_is_identified(home: Home) -> None:
    path = home.ok("pull", "tinyfamily/base:Q8_0", "--dest", str(home.folder / "here")).path
    (told,) = home.ok("identify", str(path), "--json").json["files"]
    assert (told["places"][0]["repo_id"], told["verdict"]) == ("tinyfamily/base-GGUF", "verified")
    assert told["parents"] == [{"repo_id": "tinyfamily/base", "relation": "quantized"}]
    assert told["header"]["facts"]["architecture"] == "llama"


def test_a_list_is_locked_brought_and_listed_again(home: Home, tmp_path: Path) -> None:
    (home.folder / "models.txt").write_text(
        "--require-validated\ntinyfamily/base:Q8_0\nacme/big@v1.0//config.json\n"
    )
    home.ok("lock")
    lock = (home.folder / "models.lock").read_text()
    assert 'repo_id = "tinyfamily/base-GGUF"' in lock
    assert 'verdict = "verified", passed = true, report_sha256 = "' in lock
    home.ok("lock", "--check")
    home.ok("sync", "--locked")
    assert "all good" in home.ok("check").stderr
    frozen = home.ok("freeze").stdout
    again = Home(tmp_path / "again", home.index_url)
    again.folder.mkdir()
    (again.folder / "models.txt").write_text(frozen)
    again.ok("pull", "-r", "models.txt", "--require-hashes")
    assert again.blobs() == home.blobs()


def test_a_policy_is_held_against_what_the_server_knows(home: Home) -> None:
    (home.folder / "policy.txt").write_text("--allow-format gguf\n--max-size 100M\n--allow-licence mit\n")
    for reference in ("tinyfamily/base", "acme/big@v1.0", "tinyfamily/base:Q8_0"):
        home.fails("policy_denied", "pull", reference, "-c", "policy.txt")
    home.fails("not_validated", "pull", "acme/big@v1.0", "--require-validated")


def test_the_same_bytes_come_through_every_door(home: Home) -> None:
    path = home.ok("-q", "pull", "tinyfamily/base:Q8_0").path
    digest = home.ok("-q", "hash", str(path)).stdout.strip().partition("=")[2]
    host = home.index_url.removeprefix("http://")
    for reference in (
        digest,
        f"oci://{host}/tinyfamily/base:q8_0//base-Q8_0.gguf",
        f"ollama://{host}/tinyfamily/base-GGUF//base-Q8_0.gguf",
    ):
        assert home.ok("-q", "pull", reference).path.read_bytes() == path.read_bytes()


def test_a_bundle_carries_what_the_server_has_to_where_it_is_not(home: Home, tmp_path: Path) -> None:
    bundle = home.ok("bundle", "export", "tinyfamily/base", "tinyfamily/base:Q8_0", "-d", "bundle").path
    assert "all good" in home.ok("bundle", "verify", str(bundle)).stderr
    island = Home(tmp_path / "island", "http://127.0.0.1:9")
    island.folder.mkdir()
    island.ok("bundle", "import", str(bundle))
    assert "all good" in island.ok("check").stderr
    assert island.blobs() == home.blobs()


def test_the_servers_store_is_read_without_the_server(home: Home, server: Server) -> None:
    place, keys = place_of(server.deployment.env["HOLDFAST_BLOBS"])
    alone = ("--no-index", "--find-links", place)
    path = home.ok("pull", "tinyfamily/base", *alone, **keys).path
    assert (path / "config.json").read_bytes() == (SAMPLE / "config.json").read_bytes()
    assert home.ok("pull", "tinyfamily/base").path == path  # the same commit, and nothing to fetch


def place_of(store_url: str) -> tuple[str, dict[str, str]]:
    """Where the client finds the store, and the keys to it."""
    parts = urlsplit(store_url)
    if parts.scheme == "file":
        return parts.path, {}
    options = dict(parse_qsl(parts.query))
    keys = {f"AWS_{name.upper()}": options[name] for name in ("access_key_id", "secret_access_key")}
    return f"s3+{options['endpoint']}/{parts.netloc}{parts.path}", keys
