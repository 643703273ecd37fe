"""What holds for every page: query counts, headers, privacy, and no trust in what authors wrote."""

import re
from itertools import pairwise

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from registry.middleware import POLICY
from registry.models import Event, File, Job, Lineage, Organisation, Ref, Repo
from registry.views.errors import failed
from tests.registry.views.seed import (
    judge,
    make_artifact,
    make_commit,
    make_family,
    make_header,
    make_job,
    make_private,
    make_repo,
)

pytestmark = pytest.mark.django_db

REPO_PAGES = [
    "", "/tree", "/tree/main", "/tree/main/original", "/blob/main/config.json",
    "/blob/main/model-00001-of-00002.safetensors", "/tensors", "/tensors/main",
    "/tensors/main/model-00001-of-00002.safetensors", "/commits", "/lineage", "/validation", "/events",
]  # fmt: skip
PAGES = ["/", "/?q=kelp&quantization=Q8_0", "/jobs", "/jobs?part=live", "/account/sign-in"]
PAGES += [f"/kelp/open-8b{page}" for page in REPO_PAGES]


def every_page() -> list[str]:
    """Every page of the family that `make_family` makes, reports and jobs included."""
    reports = [
        f"/kelp/open-8b/validation/{sha256}"
        for sha256 in Repo.objects.get(repo_id="kelp/open-8b").head.artifacts.values_list(
            "blob__sha256", flat=True
        )
    ]
    return PAGES + reports + [f"/jobs/{pk}" for pk in Job.objects.values_list("pk", flat=True)]


def grow(base: Repo) -> None:
    """Many more rows of every kind that a page of `base` shows."""
    for number in range(30):
        repo = make_repo(f"crowd/repo-{number}")
        make_commit(
            repo, {"model.safetensors": 20_000_000}, architecture=f"family-{number}", license=f"l-{number}"
        )
        Lineage.objects.create(child=repo, parent=base, parent_repo_id=base.repo_id, relation="finetune",
                               evidence="declared")  # fmt: skip
        make_job(base, "inspect", "succeeded")
        Event.objects.create(
            type="fixity check", repo=base, commit=base.head, agent="holdfast", summary=f"check {number}"
        )
        Ref.objects.create(repo=base, kind="tag", name=f"v{number}", commit=base.head)
    files = {f"original/part-{number}.safetensors": 30_000_000 + number for number in range(20)}
    for path, size in files.items():
        blob = make_commit(make_repo(f"donor/{size}"), {path: size}).files.get().blob
        make_header(
            File.objects.create(
                commit=base.head, path=path, blob=blob, size_bytes=size, git_oid=blob.git_oid
            ),
            15,
        )
    for recipe in ("Q5_0", "Q5_1", "Q4_1", "BF16", "F32", "IQ4_NL"):
        judge(make_artifact(base.head, recipe, 4_000_000_000))
    make_artifact(base.head, "Q2_K", 3_000_000_000, verdict="damaged")


def n_queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(url).status_code == 200, url
    return len(queries)


def test_no_page_asks_more_of_the_database_when_there_is_more_in_it(client: Client) -> None:
    base = make_family()["base"]
    urls = every_page()
    before = {url: n_queries(client, url) for url in urls}
    grow(base)
    after = {url: n_queries(client, url) for url in urls}
    assert after == before
    assert max(after.values()) <= 20, after


def test_every_page_forbids_what_it_never_uses_and_needs_none_of_it(client: Client) -> None:
    make_family()
    for url in every_page():
        response = client.get(url)
        html = response.content.decode()
        assert response["Content-Security-Policy"] == POLICY
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/static/)|javascript:", html), url
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//(?!hub\.example|example\.org)", html), url
        assert len(html) < 200_000, url


def test_every_page_has_one_main_heading_and_no_level_is_skipped(client: Client) -> None:
    make_family()
    for url in every_page():
        if "part=live" in url:
            continue
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", client.get(url).content.decode())]
        assert levels.count(1) == 1, url
        assert all(after - before <= 1 for before, after in pairwise(levels)), (
            url,
            levels,
        )


def test_a_private_repo_is_absent_to_strangers_and_there_for_members(
    client: Client, organisation: Organisation, bob: User, charlie: User
) -> None:
    repo = make_private(organisation)
    artifact = make_artifact(repo.head, "Q8_0", 3_000_000, verdict="damaged")
    job = make_job(repo)
    pages = ["", "/tree/main", "/blob/main/model.safetensors", "/tensors", "/commits", "/lineage", "/validation",
             f"/validation/{artifact.blob.sha256}", "/events"]  # fmt: skip
    urls = [f"/{repo.repo_id}{page}" for page in pages] + [f"/jobs/{job.pk}"]
    for user in (None, charlie):
        if user:
            client.force_login(user)
        home = client.get("/").content.decode()
        assert "0 repos" in home
        assert "MB" not in _without_tokens(home)
        for url in urls:
            response, absent = client.get(url), client.get(url.replace("secret", "absent"))
            assert response.status_code == absent.status_code == 404, url
            as_absent = response.content.decode().replace("secret", "absent")
            assert _without_tokens(as_absent) == _without_tokens(absent.content.decode()), url
    client.force_login(bob)
    for url in urls:
        assert client.get(url).status_code == 200, url


def _without_tokens(html: str) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", html)


def test_a_private_relative_is_not_given_away(client: Client, organisation: Organisation) -> None:
    base = make_family()["base"]
    secret = make_private(organisation)
    for child, parent in ((secret, base), (base, secret)):
        Lineage.objects.create(child=child, parent=parent, parent_repo_id=parent.repo_id, relation="merge",
                               evidence="made_here")  # fmt: skip
    blob = secret.head.files.get().blob
    File.objects.create(
        commit=base.head, path="shared.safetensors", blob=blob, size_bytes=1, git_oid=blob.git_oid
    )
    urls = [
        *every_page(),
        "/kelp/open-8b/blob/main/shared.safetensors",
        "/?q=acme",
        f"/?q={secret.head.commit_hash}",
    ]
    for url in urls:
        html = client.get(url).content.decode()
        assert "acme/secret" not in html, url


HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*7}}\u202egpj.exe"


def test_names_that_authors_chose_stay_text(client: Client) -> None:
    repo = make_repo("evil/repo", upstream_repo_id="x")
    facts = {"tokenizer": {"kind": HOSTILE}, "config": {"num_hidden_layers": HOSTILE, "hidden_size": [1]},
             "parameters": {HOSTILE[:20]: 5}, "license_name": HOSTILE,
             "card_refused": {"message": HOSTILE}}  # fmt: skip
    path = f"dir/{HOSTILE}.safetensors"
    commit = make_commit(repo, {path: 20_000_000, f"{HOSTILE}.gguf": 30_000_000}, title=HOSTILE, author=HOSTILE,
                         architecture=HOSTILE[:90], license=HOSTILE[:90], card="hi", facts=facts)  # fmt: skip
    for file in commit.files.all():
        header = make_header(file, 1, format=file.path.rsplit(".", 1)[-1])
        header.metadata = {HOSTILE: HOSTILE, "a": {"length": 3, "first": [HOSTILE]}, "b": [HOSTILE], "c": 1.5}
        header.save()
        file.blob.tensors.update(name=HOSTILE, dtype=HOSTILE[:20])
    Ref.objects.create(repo=repo, kind="branch", name=HOSTILE, commit=commit)
    Lineage.objects.create(child=repo, parent_repo_id=HOSTILE, relation="merge", evidence="declared")
    Event.objects.create(type="ingestion", repo=repo, agent=HOSTILE, summary=HOSTILE)
    make_job(repo, "mirror", "failed", error_code="x", error_message=HOSTILE, result={HOSTILE: HOSTILE},
             params=dict.fromkeys(["endpoint", "upstream_repo_id", "revision", "recipe"], HOSTILE))  # fmt: skip
    tabs = ["", "/tree/main", "/tree/main/dir", "/tensors", "/commits", "/lineage", "/events"]
    urls = [f"/evil/repo{tab}" for tab in tabs]
    urls += ["/", "/jobs", f"/jobs/{Job.objects.get().pk}", f"/?q={HOSTILE}"]
    for url in urls:
        response = client.get(url)
        html = response.content.decode()
        assert response.status_code == 200, url
        assert "<script>alert" not in html, url
        assert not re.search(r"<[^>]*\sonerror=", re.sub(r'"[^"]*"', '""', html)), url
        assert "{{7*7}}" in html or "49" not in html, url


@pytest.mark.parametrize(
    "url",
    ["/nope", "/no/pe", "/kelp/open-8b/tree/nope", "/kelp/open-8b/tree/main/nope", "/kelp/open-8b/blob/main/nope",
     "/kelp/open-8b/blob/main", "/kelp/open-8b?revision=nope", "/kelp/open-8b/tensors/main/config.json", "/a%00/b%00",
     "/kelp/open-8b/tree/%00", "/kelp/open-8b/tree/main/%00", "/kelp/open-8b?revision=%00",
     "/kelp/open-8b/validation/999999", "/jobs/99999999999999999999999999", 
     "/kelp/open-8b/tensors/main?name=%00", "/../../etc/passwd"],
)  # fmt: skip
def test_what_is_not_here_is_said_so_with_a_way_on(client: Client, url: str) -> None:
    make_family()
    response = client.get(url)
    assert response.status_code == 404
    assert "Search the catalog" in response.content.decode()


def test_a_wrong_name_is_answered_with_the_nearest(client: Client) -> None:
    make_family()
    assert 'href="/kelp/open-8b"' in client.get("/kelb/open").content.decode()


def test_the_fault_page_needs_neither_database_nor_session() -> None:
    response = failed(
        RequestFactory().get("/x")
    )  # no session, no user, and a test without the database would show
    assert response.status_code == 500
    assert "The fault is ours" in response.content.decode()
