"""Several sources of the same digest: failed over in the middle of a file, used at once, and never believed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import CONFIG, SMALL, noise
from tests.client.running import Home
from tests.client.server import HoldfastHub

MEDIUM = noise(5_000_000, 6)  # staged with a map, in one part
FILES = {"config.json": CONFIG, "model.safetensors": MEDIUM, "small.safetensors": SMALL}
HUGE = noise(34_000_000, 3)  # three parts


@pytest.fixture
def second() -> Iterator[HoldfastHub]:
    with HoldfastHub() as running:
        yield running


@pytest.fixture
def home(hub: HoldfastHub, second: HoldfastHub, tmp_path: Path) -> Home:
    """A person with an index and a mirror of it, which hold the same commit."""
    assert hub.add("org/model", FILES) == second.add("org/model", FILES)
    return Home(tmp_path, hub.url, {"HOLDFAST_EXTRA_INDEX_URL": second.url})


def assert_all_here(path: Path) -> None:
    assert {name: (path / name).read_bytes() for name in FILES} == FILES


def test_while_all_is_well_a_mirror_is_asked_for_nothing_that_comes_in_one_part(
    home: Home, second: HoldfastHub
) -> None:
    home.ok("pull", "org/model")
    assert second.requests == []


def test_an_index_that_breaks_off_in_the_middle_is_continued_by_the_mirror(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    hub.fault("cut", path="model.safetensors", at=2_000_000, times=1)
    hub.fault("status", path="model.safetensors", status=500, after=1)
    result = home.ok("pull", "org/model", "--retries", "1")
    assert_all_here(result.path)
    assert f"{hub.url} failed" in result.stderr
    wanted = [seen.headers.get("range") for seen in second.seen("resolve", "model.safetensors")]
    assert wanted
    assert None not in wanted  # what had come was not fetched again


@pytest.mark.parametrize("kind", ["html", "truncate", "wrong-206"])
def test_an_index_that_refuses_or_talks_nonsense_is_stood_in_for(
    home: Home, hub: HoldfastHub, kind: str
) -> None:
    hub.fault(kind, path="*.safetensors", at=1000)
    assert_all_here(home.ok("pull", "org/model", "--retries", "1").path)


def test_only_the_first_index_is_believed_about_digests(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    """The mirror lists the same commit with other bytes: it is not asked for them."""
    hub.fault("status", path="small.safetensors", status=403)
    second.fault("list-sha256", path="small.safetensors")
    home.fails("auth", "pull", "org/model", "--retries", "0")
    assert hashlib.sha256(SMALL).hexdigest() not in home.blobs()


def test_a_mirror_that_gives_wrong_bytes_is_found_out_and_left(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    hub.fault("status", path="small.safetensors", status=403, times=1)
    second.fault("corrupt", path="small.safetensors", at=100)
    result = home.ok("pull", "org/model", "--retries", "1")
    assert_all_here(result.path)
    assert f"{second.url} gave part of it and is not asked any more" in result.stderr


def test_a_bundle_of_another_repo_gives_the_bytes_that_the_index_refuses(
    hub: HoldfastHub, tmp_path: Path
) -> None:
    """It does not know the name, so the index answers; but it carries the digest."""
    home = Home(tmp_path, hub.url)
    hub.add("org/base", {"weights.safetensors": SMALL})
    home.ok("bundle", "export", "org/base", "-d", str(tmp_path / "bundle"))
    commit = hub.add("org/copy", {"config.json": CONFIG, "model.safetensors": SMALL})
    hub.fault("status", path="model.safetensors", status=403)
    pulled = home.ok("pull", "org/copy", "--find-links", str(tmp_path / "bundle"), "--json").json["pulled"][0]
    assert (pulled["commit"], pulled["index"]) == (commit, hub.url)
    assert (Path(pulled["path"]) / "model.safetensors").read_bytes() == SMALL


def test_when_all_fail_the_error_is_that_of_the_index(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    hub.fault("status", path="model.safetensors", status=403)
    second.fault("status", path="model.safetensors", status=500)
    error = home.fails("auth", "pull", "org/model", "--retries", "1")
    assert hub.url in error["url"]


def test_a_large_file_over_slow_connections_comes_from_both_at_once(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    assert hub.add("org/huge", {"model.safetensors": HUGE}) == second.add(
        "org/huge", {"model.safetensors": HUGE}
    )
    for one in (hub, second):
        one.fault("slow", path="*", rate=5_000_000)
    path = home.ok("pull", "org/huge").path
    assert (path / "model.safetensors").read_bytes() == HUGE
    assert hub.seen("resolve", "model.safetensors")
    assert second.seen("resolve", "model.safetensors")


def test_a_holdfast_index_is_asked_for_the_digest_where_the_commit_is_another(
    hub: HoldfastHub, second: HoldfastHub, tmp_path: Path
) -> None:
    hub.add("org/model", {"model.safetensors": SMALL})
    commit = second.add("other/name", {"x": CONFIG, "copy.safetensors": SMALL})
    place = {"repo_id": "other/name", "repo_type": "model", "commit": commit, "path": "copy.safetensors"}
    second.tells[f"/api/holdfast/v1/files/{hashlib.sha256(SMALL).hexdigest()}"] = {"files": [place]}
    hub.fault("status", path="model.safetensors", status=403)
    home = Home(tmp_path, hub.url, {"HOLDFAST_EXTRA_INDEX_URL": second.url})
    assert home.ok("pull", "org/model//model.safetensors").path.read_bytes() == SMALL
    assert [seen.path for seen in second.seen("resolve")] == ["copy.safetensors"]


def test_a_mirror_never_hears_the_name_of_a_private_repo(second: HoldfastHub, tmp_path: Path) -> None:
    with HoldfastHub(token="secret") as hub:  # which makes every repo private
        hub.add("org/secret", {"model.safetensors": SMALL})
        commit = second.add("other/name", {"copy.safetensors": SMALL})
        place = {"repo_id": "other/name", "repo_type": "model", "commit": commit, "path": "copy.safetensors"}
        second.tells[f"/api/holdfast/v1/files/{hashlib.sha256(SMALL).hexdigest()}"] = {"files": [place]}
        hub.fault("status", path="model.safetensors", status=403)
        env = {"HOLDFAST_EXTRA_INDEX_URL": second.url, "HOLDFAST_TOKEN": "secret"}
        home = Home(tmp_path, hub.url, env)
        assert home.ok("pull", "org/secret//model.safetensors").path.read_bytes() == SMALL
        assert [seen.path for seen in second.seen("resolve")] == ["copy.safetensors"]
        assert not any("secret" in seen.target for seen in second.requests)
