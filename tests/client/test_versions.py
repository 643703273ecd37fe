"""`index versions`: branches, tags, recent commits and variants."""

from pathlib import Path

import pytest

from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.client.test_output import check_golden, shown
from tests.services.hub import Hub


@pytest.fixture
def history(hub: HoldfastHub, quants: str) -> list[str]:
    """Three commits of org/m on main, one of them tagged, and a branch. Their ids, oldest first."""
    ids = [hub.add("org/m", {"a.txt": b"%d" % n}, title=f"Change number {n}") for n in range(3)]
    hub.tag("org/m", "v1.0", ids[1])
    hub.add("org/m", {"b.txt": b"b"}, branch="feat/x", title="Try \x1b[2J")
    hub.offer("org/m", "Q8_0", "org/quants-GGUF", "quants-Q8_0.gguf", "verified", mean_kld=0.001)
    return ids


def test_the_words_of_versions_are_these(home: Home, history: list[str]) -> None:
    home.ok("pull", "org/m@v1.0")
    result = home.ok("index", "versions", "org/m")
    assert max(map(len, result.stdout.splitlines())) <= 80
    check_golden("index-versions", shown(home, result))


def test_json_has_every_name_with_its_commit(home: Home, history: list[str]) -> None:
    home.ok("pull", "org/m@v1.0")
    found = home.ok("index", "versions", "org/m", "--json").json
    names = {one["name"]: (one["kind"], one["commit"], one["is_here"]) for one in found["revisions"]}
    assert names["main"] == ("branch", history[2], False)
    assert names["v1.0"] == ("tag", history[1], True)
    assert names[history[0][:12]] == ("commit", history[0], False)
    assert [one["variant"] for one in found["variants"]] == ["Q8_0"]


def test_quiet_prints_what_may_follow_the_at_sign(home: Home, history: list[str]) -> None:
    lines = home.ok("index", "-q", "versions", "org/m", "--commits", "0").stdout.split()
    assert lines == ["main", "feat/x", "v1.0"]
    for name in lines:
        home.ok("pull", f"org/m@{name}", "--dry-run")


def test_names_that_no_revision_can_have_are_left_out(home: Home, hub: HoldfastHub) -> None:
    hub.tells["/api/models/org/m/refs"] = {
        "branches": [{"name": "../x", "targetCommit": "a" * 40}, {"name": "good", "targetCommit": "z"}, 7],
        "tags": "none",
    }
    hub.add("org/m", {"a.txt": b"a"})
    assert home.ok("index", "-q", "versions", "org/m", "--commits", "0").stdout.split() == ["main"]


def test_a_hub_without_a_history_still_tells_the_names(tmp_path: Path) -> None:
    with Hub() as plain:
        plain.add("org/m", {"a.txt": b"a"})
        plain.fault("status", on="commits", status=404)
        home = Home(tmp_path, plain.url)
        assert home.ok("index", "-q", "versions", "org/m").stdout.split() == ["main"]


def test_offline_there_is_nobody_to_ask(home: Home, history: list[str]) -> None:
    home.fails("offline", "index", "versions", "org/m", "--offline")
    home.fails("not_found", "index", "versions", "org/none", exit_code=23)
