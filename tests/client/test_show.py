"""`show`: what an index tells of a model, and what is believed of it."""

from pathlib import Path
from typing import Any

import pytest
from holdfast.asking.told import number, text, texts

from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.client.test_output import check_golden, shown
from tests.services.hub import Hub

V1 = "/api/holdfast/v1"
CARD_DATA = {
    "license": "apache-2.0", "language": ["en", "de"], "base_model": "elsewhere/parent",
}  # fmt: skip
COPIES = {
    "repo_id": "org/model", "is_complete": True, "n_files": 7, "n_files_upstream_only": 0, "size_bytes": 20_300_046,
    "blobs": {"total": 6, "present": 6, "never_checked": 1}, "stores": ["local"],
    "oldest_check": "2026-10-01T00:00:00.000Z", "newest_check": "2026-11-20T00:00:00.000Z",
    "upstream": {"kind": "huggingface", "endpoint": "https://hub.example", "repo_id": "org/model",
                 "asked_at": "2026-11-21T00:00:00.000Z", "answered_at": None, "trouble": "asked us to wait 60 seconds"},
}  # fmt: skip
LINEAGE = {
    "parents": [{"repo_id": "elsewhere/parent", "relation": "finetune", "evidence": "declared", "is_held": False}],
    "children": [{"repo_id": "org/quants-GGUF", "relation": "quantized", "evidence": "made_here", "is_held": True}],
}  # fmt: skip


@pytest.fixture
def known(hub: HoldfastHub, model: str, quants: str) -> HoldfastHub:
    """org/model, of which a Holdfast index knows the card, the relatives and how it is kept."""
    hub.repos["org/model"].card = CARD_DATA
    near: Any = {"mean_kld": 0.0112, "perplexity_ratio": 1.006, "bits_per_weight": 4.85}
    hub.offer("org/model", "Q4_K_M", "org/quants-GGUF", "quants-Q4_K_M.gguf", "verified", **near)
    hub.offer("org/model", "Q8_0", "org/quants-GGUF", "quants-Q8_0.gguf", "damaged")
    hub.tells = {f"{V1}/copies/org/model": COPIES, f"{V1}/lineage/org/model": LINEAGE}
    return hub


def test_the_words_of_show_are_these(home: Home, known: HoldfastHub) -> None:
    result = home.ok("show", "org/model")
    assert max(map(len, result.stdout.replace(known.url, "http://INDEX").splitlines())) <= 80
    check_golden("show", shown(home, result))
    check_golden("show-files", shown(home, home.ok("show", "org/model", "--files")))


def test_json_tells_all_of_it(home: Home, known: HoldfastHub, model: str) -> None:
    found = home.ok("info", "org/model", "--json").json
    assert (found["commit"], found["licence"], found["languages"]) == (model, "apache-2.0", ["en", "de"])
    assert found["copies"]["n_never_checked"] == 1
    assert found["parents"][0]["repo_id"] == "elsewhere/parent"
    assert {choice["variant"]: choice.get("mean_kld") for choice in found["choices"]}["Q4_K_M"] == 0.0112
    assert (len(found["files"]), found["size_bytes"]) == (7, 20_300_046)
    assert home.leftovers() == []


def test_a_plain_hub_tells_what_it_can(tmp_path: Path) -> None:
    with Hub() as plain:
        plain.add(
            "org/m",
            {"m-Q4_0.gguf": b"a" * 9, "m-Q8_0.gguf": b"b" * 10},
            card={"license": "other", "license_name": "own"},
        )
        home = Home(tmp_path, plain.url)
        found = home.ok("show", "org/m", "--json").json
        assert (found["licence"], found["copies"], found["parents"]) == ("other: own", None, [])
        assert "holdfast pull org/m:best" in home.ok("show", "org/m").stdout


def test_the_card_is_printed_without_what_could_move_the_cursor(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/m", {"README.md": "# Größe\n\x1b[2Jgone\n\tcode\n".encode()})
    result = home.ok("show", "org/m", "--readme")
    assert result.stdout == "# Größe\n\\x1b[2Jgone\n    code\n"
    assert home.ok("show", "org/m", "--readme", "--json").json["readme"].startswith("# Gr")


def test_a_card_with_other_bytes_is_not_shown(home: Home, known: HoldfastHub) -> None:
    known.fault("corrupt", path="README.md", at=2)
    home.fails("hash_mismatch", "show", "org/model", "--readme")


def test_without_a_card_the_error_says_so(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/m", {"config.json": b"{}"})
    home.fails("not_found", "show", "org/m", "--readme", exit_code=23)
    home.fails("not_found", "show", "org/nothing", exit_code=23)


def test_offline_the_cache_tells(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/m", {"README.md": b"---\nlicense: mit\n---\n# M\n", "config.json": b"{}"})
    home.ok("pull", "org/m")
    hub.stop()
    found = home.ok("show", "org/m", "--offline", "--json").json
    assert (found["index_url"], found["licence"], len(found["files"])) == ("the cache", "mit", 2)
    assert home.ok("show", "org/m", "--offline", "--readme").stdout.endswith("# M\n")


NONSENSE = [None, -1, [None, {"repo_id": "../x"}], {"blobs": [], "parents": 7}]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=str)
def test_an_index_that_tells_nonsense_is_not_believed(home: Home, known: HoldfastHub, nonsense: Any) -> None:
    known.tells = {f"{V1}/{kind}/org/model": nonsense for kind in ("copies", "lineage")}
    known.repos["org/model"].card = {"license": nonsense, "language": nonsense, "base_model": nonsense}
    known.choices["org/model"][0].update(mean_kld=nonsense, bits_per_weight=nonsense)  # type: ignore[attr-defined]
    result = home.ok("show", "org/model")
    assert "org/model@main is commit" in result.stdout


def test_values_that_are_not_of_their_kind_are_not_told() -> None:
    assert [number(value) for value in (7, 0, -1, True, 1.5, "7", None, 1 << 70)] == [7, *[None] * 7]
    assert text("a\x1bb") == "a\\x1bb"
    assert texts(["a", 1, "", "b"]) == ("a", "b")
    assert texts({"a": 1}) == ()
