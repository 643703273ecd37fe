"""The catalog's filters: query string in, queryset out."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict

from registry.access import visible_repos
from registry.models import Organisation
from registry.search import Filters, search, tally
from tests.registry.views.seed import make_family, make_private, make_repo

pytestmark = pytest.mark.django_db


def found(query: str) -> list[str]:
    filters = Filters.read(QueryDict(query))
    return [repo.repo_id for repo in search(visible_repos(AnonymousUser()), filters)]


def counts(query: str, facet: str) -> dict[str, int]:
    repos = visible_repos(AnonymousUser())
    tallied = {one.name: values for one, values in tally(repos, Filters.read(QueryDict(query)))}
    return {value: number for value, _, number, _ in tallied[facet]}


def test_every_word_must_occur_whatever_its_case() -> None:
    make_family()
    assert found("q=OPEN+kelp&sort=name") == ["kelp/open-8b", "kelp/open-8b-GGUF"]
    assert found("q=open+skerry") == []
    assert found("q=llama&sort=name") == ["driftline/Skerry-8B", "kelp/open-8b", "kelp/open-8b-GGUF"]


def test_the_start_of_a_commit_or_of_a_sha256_finds_who_holds_it() -> None:
    tune = make_family()["tune"]
    blob = tune.head.files.get(path="model.safetensors").blob
    assert found(f"q={tune.head.commit_hash[:8]}") == [tune.repo_id]
    assert found(f"q={tune.head.commit_hash.upper()}") == [tune.repo_id]
    assert found(f"q={blob.sha256[:12]}") == [tune.repo_id]


def test_facets_narrow_and_values_of_one_facet_widen() -> None:
    make_family()
    assert found("quantization=Q8_0&sort=name") == ["kelp/open-8b", "kelp/open-8b-GGUF"]
    assert found("quantization=Q8_0&format=safetensors") == ["kelp/open-8b"]
    assert found("license=llama3.1&license=mit&sort=name") == [
        "driftline/Skerry-8B",
        "kelpbed/archivist-lora",
    ]
    assert found("upstream=here") == ["kelp/open-8b-GGUF"]
    assert found("upstream=hub.example&architecture=llama&verdict=verified") == ["kelp/open-8b"]
    assert found("verdict=untested&sort=name") == ["driftline/Skerry-8B", "kelpbed/archivist-lora"]


def test_a_facet_counts_as_if_only_the_others_were_chosen() -> None:
    make_family()
    assert counts("", "license") == {"apache-2.0": 2, "llama3.1": 1, "mit": 1}
    assert counts("license=mit", "license") == {"apache-2.0": 2, "llama3.1": 1, "mit": 1}
    assert counts("license=mit", "architecture") == {}
    assert counts("", "quantization") == {"F16": 2, "Q8_0": 2, "Q4_0": 2}
    assert counts("", "verdict") == {"verified": 2, "untested": 2}
    assert counts("", "upstream") == {"hub.example": 3, "here": 1}
    assert counts("", "format") == {"safetensors": 2}


def test_a_chosen_value_is_shown_even_when_nothing_has_it() -> None:
    make_family()
    assert counts("license=nobody-uses-this", "license")["nobody-uses-this"] == 0


def test_a_repo_whose_every_artifact_failed_says_so() -> None:
    from tests.registry.views.seed import make_artifact, make_commit

    commit = make_commit(make_repo("acme/broken"), {"model.safetensors": 20_000_000})
    make_artifact(commit, "Q4_0", 6_000_000, verdict="damaged")
    assert found("verdict=damaged") == ["acme/broken"]


@pytest.mark.parametrize("sort", ["newest", "name", "parameters", "largest"])
def test_every_order_lists_every_repo_also_those_without_facts(sort: str) -> None:
    make_family()
    make_repo("acme/empty")
    assert len(found(f"sort={sort}")) == 5


def test_the_largest_come_first_and_the_unknown_last() -> None:
    make_family()
    make_repo("acme/empty")
    assert found("sort=largest")[0] == "kelp/open-8b-GGUF"
    assert found("sort=parameters")[-1] in ("acme/empty", "kelpbed/archivist-lora")


def test_private_repos_are_neither_found_nor_counted(organisation: Organisation) -> None:
    repo = make_private(organisation)
    assert found("") == []
    assert found(f"q={repo.head.commit_hash}") == []
    assert counts("", "architecture") == {}


@pytest.mark.parametrize(
    "query",
    ["page=-1", "page=1e9", "page=²", "page=99999999999999", "sort=evil", "architecture=", "q=%00", "q=%25%27%22",
     "x=y", "upstream=%27", "q=" + "a+" * 500],
)  # fmt: skip
def test_nonsense_in_a_query_string_is_harmless(query: str) -> None:
    make_family()
    found(query)
    counts(query, "license")


def test_a_search_round_trips_through_its_url() -> None:
    filters = Filters.read(QueryDict("q=a+b&license=mit&license=gpl&sort=name&page=3"))
    again = Filters.read(QueryDict(filters.link(page=3).split("?")[1]))
    assert again == filters
    assert filters.link() == "/?q=a+b&license=mit&license=gpl&sort=name"
    assert filters.without("license", "mit") == "/?q=a+b&license=gpl&sort=name"
    assert Filters().link() == "/"
