"""`search`: what is asked, what is shown, and what is believed."""

from typing import Any

import pytest
from holdfast.asking.searching import Query, read_range
from holdfast.text import format_count

from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.client.test_output import check_golden, shown

OWN = {
    "parameter_count": 8_030_261_248, "size_bytes": 16_000_000_000, "license": "llama3.1", "formats": ["safetensors"],
    "quantizations": ["Q4_K_M", "Q5_K_M", "Q8_0"], "verdict": "verified", "upstream_gone": False,
}  # fmt: skip


def entry(repo_id: str, own: Any = None, **more: Any) -> dict[str, Any]:
    shape = {
        "id": repo_id, "tags": ["gguf", "license:mit"], "pipeline_tag": "text-generation",
        "lastModified": "2026-11-20T01:02:03.000Z", "sha": "a" * 40,
    }  # fmt: skip
    return {**shape, **({"holdfast": own} if own is not None else {}), **more}


@pytest.fixture
def catalog(hub: HoldfastHub) -> HoldfastHub:
    hub.tells["/api/models"] = [
        entry("meta-llama/Llama-3.1-8B-Instruct", OWN),
        entry(
            "bartowski/Llama-3.2-1B-Instruct-GGUF",
            {**OWN, "parameter_count": 1_235_814_400, "verdict": "untested"},
        ),
        entry("someone/deleted-model", {**OWN, "upstream_gone": True, "quantizations": [], "license": None}),
        entry("plain/model", safetensors={"total": 22_000_000}),
    ]
    return hub


def test_the_words_of_search_are_these(home: Home, catalog: HoldfastHub) -> None:
    result = home.ok("search", "llama")
    assert max(map(len, result.stdout.splitlines())) <= 80
    check_golden("search", shown(home, result))
    wide = home.ok("search", "llama", COLUMNS="120").stdout
    assert "text-generation" in wide
    assert max(map(len, wide.splitlines())) <= 120


def test_quiet_prints_names_that_pull_takes(home: Home, catalog: HoldfastHub) -> None:
    lines = home.ok("search", "-q").stdout.splitlines()
    assert lines[:2] == ["meta-llama/Llama-3.1-8B-Instruct", "bartowski/Llama-3.2-1B-Instruct-GGUF"]


def test_every_flag_reaches_the_index(home: Home, catalog: HoldfastHub) -> None:
    catalog.tells["/api/models"] = [entry("o/n", OWN)]
    home.ok("search", "two", "words", "--author", "acme", "--task", "text-generation", "--params", "6b..13B",
            "--licence", "MIT", "--format", "gguf", "--quant", "Q4_K_M", "--quant", "Q8_0", "--validated",
            "--upstream-gone", "--sort", "modified", "--limit", "5")  # fmt: skip
    (asked,) = catalog.asked
    for part in (
        "search=two+words", "author=acme", "pipeline_tag=text-generation", "num_parameters=min%3A6B%2Cmax%3A13B",
        "filter=license%3Amit", "filter=gguf", "quantization=Q4_K_M&quantization=Q8_0", "verdict=verified",
        "upstream_gone=true", "sort=lastModified", "limit=6",
    ):  # fmt: skip
        assert part in asked.split("&") or part in asked, part


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("6B..13B", ("6B", "13B")),
        ("70b..", ("70B", "")),
        ("..3B", ("", "3B")),
        ("8B", ("6B", "10B")),
        ("500", ("375", "625")),
    ],
)
def test_ranges_of_parameters_are_read(text: str, bounds: tuple[str, str]) -> None:
    assert read_range(text) == bounds


@pytest.mark.parametrize("text", ["", "..", "lots", "6B-13B", "6B...13B", "-1B"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        read_range(text)


def test_a_query_without_flags_asks_for_no_filter() -> None:
    names = {name for name, _value in Query().pairs(10)}
    assert names == {"limit", "sort", "direction", "holdfast", "expand"}


def test_large_numbers_are_named_as_models_are() -> None:
    counts = [999, 1000, 494_033_000, 7_241_732_096, 70_553_706_496, 999_600_000, 1_100_000_000_000]
    assert [format_count(n) for n in counts] == ["999", "1.0K", "494M", "7.2B", "70.6B", "1.0B", "1.1T"]


def test_pages_follow_one_another(home: Home, catalog: HoldfastHub) -> None:
    first = home.ok("search", "--limit", "3", "--json").json
    assert (len(first["models"]), first["has_more"]) == (3, True)
    second = home.ok("search", "--limit", "3", "--page", "2", "--json").json
    assert ([one["repo_id"] for one in second["models"]], second["has_more"]) == (["plain/model"], False)
    assert len(home.ok("search", "--all", "--json").json["models"]) == 4
    assert home.run("search", "--page", "9").code == 23


def test_pages_that_do_not_end_are_left(home: Home, catalog: HoldfastHub) -> None:
    catalog.next_page = f'<{catalog.url}/api/models?cursor=again>; rel="next"'
    assert len(home.ok("search", "--all", "--json").json["models"]) == 4
    assert len(catalog.asked) == 2
    catalog.next_page = '<file:///etc/passwd>; rel="next"'
    home.fails("network", "search", "--all", "--retries", "0")


def test_what_only_holdfast_knows_is_asked_of_no_other_index(home: Home, catalog: HoldfastHub) -> None:
    catalog.tells["/api/models"] = [entry("plain/model")]
    for flag in (["--quant", "Q8_0"], ["--validated"], ["--upstream-gone"]):
        assert flag[0] in home.fails("usage", "search", *flag, exit_code=2)["message"]
    home.ok("search")


def test_an_earlier_index_is_believed_about_a_name(home: Home, catalog: HoldfastHub) -> None:
    with HoldfastHub() as second:
        second.tells["/api/models"] = [entry("PLAIN/model"), entry("only/here")]
        found = home.ok("search", "--all", "--json", "--extra-index-url", second.url).json["models"]
        assert [one["repo_id"] for one in found][-2:] == ["plain/model", "only/here"]
        assert found[-1]["index_url"] == second.url
        assert (
            second.url
            in home.ok("search", "-i", catalog.url, "--extra-index-url", second.url, COLUMNS="120").stdout
        )


def test_entries_that_cannot_be_are_left_out(home: Home, hub: HoldfastHub) -> None:
    hub.tells["/api/models"] = [
        7,
        {"id": "../x"},
        {"id": "a\x1b/b"},
        entry("o/n", {"formats": 1, "verdict": []}, tags=9),
    ]
    assert home.ok("search", "-q").stdout.split() == ["o/n"]
    hub.tells["/api/models"] = {"error": "no list"}
    assert home.run("search").code == 23


def test_offline_and_without_an_index_there_is_nobody_to_ask(home: Home, catalog: HoldfastHub) -> None:
    home.fails("offline", "search", "x", "--offline")
    home.fails("usage", "search", "x", "--no-index", exit_code=2)
    assert home.run("search", "--params", "lots").code == 2
