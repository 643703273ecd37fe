from itertools import pairwise

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from registry.models import Lineage, Repo
from registry.views.lineage import draw, family_of
from registry.views.repos import edges_of
from tests.registry.views.seed import make_family, make_repo

pytestmark = pytest.mark.django_db


def link(child: Repo, parent: Repo, relation: str = "finetune") -> Lineage:
    return Lineage.objects.create(child=child, parent=parent, parent_repo_id=parent.repo_id, relation=relation,
                                  evidence="declared")  # fmt: skip


def test_the_list_and_the_picture_say_the_same(client: Client) -> None:
    make_family()
    html = client.get("/kelp/open-8b/lineage").content.decode()
    for repo_id in ("kelp/open-8b-GGUF", "driftline/Skerry-8B"):
        assert html.count(f'href="/{repo_id}"') == 2, repo_id
    assert "fine-tune · declared by its author" in html
    assert "quantization · made here" in html


def test_a_parent_that_is_not_held_is_named_without_a_link(client: Client) -> None:
    make_family()
    html = client.get("/kelpbed/archivist-lora/lineage").content.decode()
    assert "someone/not-held" in html
    assert 'href="/someone/not-held"' not in html


def test_a_private_parent_looks_like_one_that_is_not_held(client: Client) -> None:
    link(of_hidden := make_repo("pub/of-hidden"), make_repo("hush/base-a", private=True))
    Lineage.objects.create(
        child=(of_absent := make_repo("pub/of-absent")), parent_repo_id="hush/base-b", relation="finetune",
        evidence="declared",
    )  # fmt: skip
    pages = [client.get(f"/{repo.repo_id}/lineage").content.decode() for repo in (of_hidden, of_absent)]
    hidden, absent = ([line for line in page.splitlines() if "hush" in line] for page in pages)
    assert absent
    assert [line.replace("base-a", "base-b").replace("of-hidden", "of-absent") for line in hidden] == absent
    short = [edges_of(repo, AnonymousUser())["parents"][0] for repo in (of_hidden, of_absent)]
    assert [(edge.parent, edge.parent_repo_id[:-1]) for edge in short] == [(None, "hush/base-")] * 2


def test_generations_are_followed_both_ways() -> None:
    chain = [make_repo(f"kelp/gen-{number}") for number in range(7)]
    for parent, child in pairwise(chain):
        link(child, parent)
    family = family_of(chain[3], AnonymousUser())
    assert [kin.repo_id for kin in family.ancestors] == ["kelp/gen-0", "kelp/gen-1", "kelp/gen-2"]
    assert family.n_descendants == 3
    columns = {kin.level: kin.x for kin in draw(family).boxes}
    assert list(dict(sorted(columns.items())).values()) == sorted(columns.values())


def test_claims_in_a_circle_end() -> None:
    one, two = make_repo("kelp/one"), make_repo("kelp/two")
    link(one, two)
    link(two, one)
    link(one, one, "merge")
    family = family_of(one, AnonymousUser())
    assert set(family.kin) == {"kelp/one", "kelp/two"}


def test_a_repo_without_relatives_says_so(client: Client) -> None:
    make_repo("kelp/alone")
    assert "No relatives are known." in client.get("/kelp/alone/lineage").content.decode()
