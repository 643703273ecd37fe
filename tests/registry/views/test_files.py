import pytest
from django.test import Client

from registry.models import Ref
from tests.registry.views.seed import make_commit, make_family, make_header, make_repo

pytestmark = pytest.mark.django_db


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_folders_come_first_and_add_up_what_is_below_them(client: Client) -> None:
    make_commit(make_repo("kelp/deep"), {"z.json": 5, "a/b/one.bin": 400, "a/two.bin": 600})
    root = page(client, "/kelp/deep/tree/main")
    assert root.index(">a/</a>") < root.index(">z.json</a>")
    assert ">1.00 kB</data>" in root
    assert "2 files" in root
    inner = page(client, "/kelp/deep/tree/main/a")
    assert ">b/</a>" in inner
    assert ">two.bin</a>" in inner
    assert "z.json" not in inner


def test_a_branch_may_hold_slashes(client: Client) -> None:
    repo = make_repo("kelp/branchy")
    make_commit(repo, {"main.json": 5})
    other = make_commit(repo, {"docs/side.json": 6}, branch="feature/new")
    Ref.objects.create(repo=repo, kind="tag", name="feature", commit=repo.head)
    assert "side.json" in page(client, "/kelp/branchy/tree/feature/new/docs")
    assert "side.json" in page(client, "/kelp/branchy/blob/feature%2Fnew/docs/side.json")
    assert "docs/" in page(client, "/kelp/branchy/tree/refs/heads/feature/new")
    assert "main.json" in page(client, "/kelp/branchy/tree/feature")
    assert "side.json" in page(client, f"/kelp/branchy/tree/{other.commit_hash}/docs")


def test_choosing_a_revision_leads_to_its_files(client: Client) -> None:
    repo = make_repo("kelp/branchy")
    make_commit(repo, {"main.json": 5}, branch="feature/new")
    make_commit(repo, {"main.json": 5})
    assert client.get("/kelp/branchy/tree?revision=feature/new").url == "/kelp/branchy/tree/feature%2Fnew"
    assert (
        client.get("/kelp/branchy/tensors?revision=feature/new").url == "/kelp/branchy/tensors/feature%2Fnew"
    )
    for tab in ("tree", "tensors"):
        assert client.get(f"/kelp/branchy/{tab}?revision=//evil.example").status_code == 404
        assert '<option value="feature/new"' in page(client, f"/kelp/branchy/{tab}")


def test_a_large_folder_is_paged(client: Client) -> None:
    make_commit(make_repo("kelp/many"), {f"f-{number:04}.json": number for number in range(450)})
    assert "1 to 200 of 450" in page(client, "/kelp/many/tree/main")
    last = page(client, "/kelp/many/tree/main?page=3")
    assert ">f-0449.json</a>" in last
    assert ">f-0001.json</a>" not in last


def test_a_file_tells_every_digest_it_has(client: Client) -> None:
    base = make_family()["base"]
    file = base.head.files.select_related("blob").get(path="model-00001-of-00002.safetensors")
    shown = page(client, "/kelp/open-8b/blob/main/model-00001-of-00002.safetensors")
    assert file.blob.sha256 in shown
    assert file.git_oid in shown
    assert "9\u202f976\u202f000\u202f000" in shown
    assert f'href="/kelp/open-8b/resolve/{base.head.commit_hash}/model-00001-of-00002.safetensors"' in shown


def test_names_that_need_quoting_lead_where_they_say(client: Client) -> None:
    make_commit(make_repo("kelp/odd"), {"sp ace/per%cent?#.json": 5})
    assert "per%cent?#.json" in page(client, "/kelp/odd/tree/main/sp%20ace")
    link = "/kelp/odd/blob/main/sp%20ace/per%25cent%3F%23.json"
    assert f'href="{link}"' in page(client, "/kelp/odd/tree/main/sp%20ace")
    assert "per%cent?#.json" in page(client, link)


def test_tensors_are_paged_filtered_and_told_with_their_file(client: Client) -> None:
    repo = make_repo("kelp/tensors")
    commit = make_commit(repo, {"a.safetensors": 90_000_000, "b.safetensors": 80_000_000})
    for file, dtype in zip(commit.files.order_by("path"), ("BF16", "F32"), strict=True):
        make_header(file, 130, dtype=dtype)
    every = page(client, "/kelp/tensors/tensors")
    assert "1 to 100 of 260" in every
    assert ">a.safetensors</a>" in every
    assert "model.layers.7.mlp" in page(client, "/kelp/tensors/tensors/main/b.safetensors?name=LAYERS.7.")
    only = page(client, "/kelp/tensors/tensors/main?dtype=F32&name=layers.12")
    assert '<td role="cell">BF16</td>' not in only
    assert "No tensor of that name." in page(client, "/kelp/tensors/tensors/main?name=nope")


def test_an_uninspected_commit_says_that_its_headers_were_not_read_yet(client: Client) -> None:
    make_commit(make_repo("kelp/new"), {"a.safetensors": 90_000_000})
    assert "has not read the headers" in page(client, "/kelp/new/tensors")
