"""Several indexes: the first that knows a name answers for all of it, and nobody answers for one that is down."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import CONFIG, SMALL
from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.services.hub import Hub

NOTHING_MATCHED = 23


@pytest.fixture
def second() -> Iterator[HoldfastHub]:
    with HoldfastHub() as running:
        yield running


@pytest.fixture
def home(hub: HoldfastHub, second: HoldfastHub, tmp_path: Path) -> Home:
    """A person with two indexes: `hub` first, `second` after it."""
    return Home(tmp_path, hub.url, {"HOLDFAST_EXTRA_INDEX_URL": second.url})


def test_the_first_index_that_knows_the_name_answers(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    ours = hub.add("org/model", {"config.json": CONFIG})
    second.add("org/model", {"config.json": b"somebody else's"})
    pulled = home.ok("pull", "org/model", "--json").json["pulled"][0]
    assert (pulled["commit"], pulled["index"]) == (ours, hub.url)
    assert second.requests == []


def test_a_name_that_the_first_index_does_not_know_is_asked_of_the_next(
    home: Home, second: HoldfastHub
) -> None:
    commit = second.add("org/model", {"config.json": CONFIG, "model.safetensors": SMALL})
    pulled = home.ok("pull", "org/model", "--json").json["pulled"][0]
    assert (pulled["commit"], pulled["index"]) == (commit, second.url)


def test_a_revision_that_the_first_index_lacks_is_not_taken_from_the_next(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    hub.add("org/model", {"config.json": CONFIG})
    second.tag("org/model", "v9", second.add("org/model", {"config.json": b"shadow"}))
    error = home.fails("not_found", "pull", "org/model@v9", exit_code=NOTHING_MATCHED)
    assert "is the first that knows org/model" in error["hint"]
    assert second.requests == []


@pytest.mark.parametrize("status", [403, 500])
def test_an_index_that_refuses_is_not_passed_over(
    home: Home, hub: HoldfastHub, second: HoldfastHub, status: int
) -> None:
    """A status says nothing about the name: only a repo that is not found does."""
    hub.add("org/model", {"config.json": CONFIG})
    hub.fault("status", on="info", status=status)
    second.add("org/model", {"config.json": b"shadow"})
    home.fails("network" if status == 500 else "auth", "pull", "org/model", "--retries", "0")
    assert second.requests == []


def test_a_plain_404_for_a_revision_does_not_mean_that_the_name_is_unknown(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    hub.add("org/model", {"config.json": CONFIG})
    hub.fault("status", on="info", status=404, times=1)  # the revision; the repo is there
    second.add("org/model", {"config.json": b"shadow"})
    assert home.ok("pull", "org/model", "--json").json["pulled"][0]["index"] == hub.url
    assert second.requests == []


def test_an_index_that_is_down_is_an_error_that_says_so(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    second.add("org/model", {"config.json": b"shadow"})
    hub.stop()
    error = home.fails("network", "pull", "org/model", "--retries", "0")
    assert "The next index was not asked instead" in error["hint"]
    assert hub.url in error["message"]
    assert second.requests == []


def test_a_plain_404_for_the_whole_repo_means_that_the_name_is_unknown(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    """Some hubs do not say what it is that they did not find."""
    hub.fault("status", on="info", status=404)
    commit = second.add("org/model", {"config.json": CONFIG})
    assert home.ok("pull", "org/model", "--json").json["pulled"][0]["commit"] == commit


def test_what_nobody_knows_names_everybody_who_was_asked(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    error = home.fails("not_found", "pull", "org/nothing", exit_code=NOTHING_MATCHED)
    assert error["asked"] == [hub.url, second.url]
    assert hub.url in error["message"]
    assert second.url in error["message"]


def test_an_index_in_the_reference_is_the_only_one_that_is_asked(
    home: Home, hub: HoldfastHub, second: HoldfastHub
) -> None:
    hub.add("org/model", {"config.json": CONFIG})
    theirs = second.add("org/model", {"config.json": b"theirs"})
    pulled = home.ok("pull", f"{second.url}/org/model", "--json").json["pulled"][0]
    assert (pulled["commit"], pulled["index"]) == (theirs, second.url)
    assert hub.requests == []
    home.fails("not_found", "pull", f"{second.url}/org/other", exit_code=NOTHING_MATCHED)
    assert hub.requests == []


def test_the_token_of_the_index_is_not_shown_to_the_next(tmp_path: Path, second: HoldfastHub) -> None:
    with HoldfastHub(token="secret") as hub:
        home = Home(tmp_path, hub.url, {"HOLDFAST_EXTRA_INDEX_URL": second.url, "HOLDFAST_TOKEN": "secret"})
        second.add("org/model", {"config.json": CONFIG})
        home.ok("pull", "org/model")
        assert hub.requests[0].headers["authorization"] == "Bearer secret"
        assert second.requests
        assert not any("authorization" in seen.headers for seen in second.requests)


def test_the_name_in_which_a_plain_hub_keeps_quants_is_asked_in_order_too(
    tmp_path: Path, second: HoldfastHub
) -> None:
    with Hub() as hub:
        home = Home(tmp_path, hub.url, {"HOLDFAST_EXTRA_INDEX_URL": second.url})
        hub.add("org/model", {"config.json": CONFIG})
        second.add("org/model-GGUF", {"model-Q8_0.gguf": SMALL})
        pulled = home.ok("pull", "org/model:Q8_0", "--json").json["pulled"][0]
        assert (pulled["repo_id"], pulled["index"]) == ("org/model-GGUF", second.url)


def test_offline_asks_nobody_who_would_answer(
    home: Home, hub: HoldfastHub, second: HoldfastHub, tmp_path: Path
) -> None:
    hub.add("org/model", {"config.json": CONFIG})
    home.ok("pull", "org/model")
    hub.requests.clear()
    home.ok("pull", "--offline", "org/model", "-d", str(tmp_path / "plain"))
    assert (tmp_path / "plain" / "config.json").read_bytes() == CONFIG
    assert hub.requests + second.requests == []


def test_without_any_index_and_any_folder_there_is_nobody_to_ask(home: Home, hub: HoldfastHub) -> None:
    error = home.fails("usage", "pull", "--no-index", "org/model", exit_code=2)
    assert "--find-links" in error["hint"]
    assert hub.requests == []
