import html
import re
import shlex

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import Blob, Commit, Event, File, Header, Repo, Upstream
from tests.registry.views.seed import MEGA, make_artifact, make_commit, make_family, make_header, make_repo

pytestmark = pytest.mark.django_db


def page(client: Client, url: str = "/kelp/open-8b") -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def commands(client: Client, url: str) -> dict[str, str]:
    """Client -> the line that the page tells people to run."""
    found = re.findall(
        r'<div class="cmd"[^>]*><span>([^<]*)</span><pre><code>(.*?)</code>', page(client, url), re.DOTALL
    )
    return {name: html.unescape(line) for name, line in found}


def test_the_page_answers_what_it_is_and_how_good_each_variant_is(client: Client) -> None:
    make_family()
    shown = page(client)
    for words in ("8.03 B", "131\u202f072 tokens", "apache-2.0", "16.1 GB", "Q8_0", "8.51", "97.7\u202f%", "Verified",
                  "Damaged", "not published: it did not pass", "reference"):  # fmt: skip
        assert words in shown, words


def test_the_commands_name_this_server_and_the_variant(client: Client) -> None:
    base = make_family()["base"]
    shown = commands(client, "/kelp/open-8b")
    assert shown["holdfast"] == "holdfast pull http://testserver/kelp/open-8b:Q8_0"
    assert shown["hf"] == "HF_ENDPOINT=http://testserver hf download kelp/open-8b"
    assert shown["llama.cpp"] == "HF_ENDPOINT=http://testserver llama-cli -hf kelp/open-8b-GGUF:Q8_0"
    assert base.head.commit_hash[:12] in shown["transformers"]
    assert shown["curl"].endswith("/open-8b-Q8_0.gguf")
    assert commands(client, "/kelp/open-8b?variant=q4_0")["holdfast"].endswith(":Q4_0")
    assert "llama.cpp" not in commands(client, "/kelp/open-8b?variant=safetensors")


def test_an_older_commit_is_pulled_by_its_hash(client: Client) -> None:
    repo = make_repo("kelp/two")
    old = make_commit(repo, {"model.safetensors": 5 * MEGA})
    make_commit(repo, {"model.safetensors": 6 * MEGA})
    shown = commands(client, f"/kelp/two?revision={old.commit_hash[:10]}")
    assert shown["holdfast"].endswith(f"kelp/two@{old.commit_hash}")
    assert shown["hf"].endswith(f"--revision {old.commit_hash}")
    assert "not at" in page(client, f"/kelp/two?revision={old.commit_hash[:10]}")


@pytest.mark.parametrize(
    "name", ["$(touch x).gguf", "a;reboot.gguf", "x'y\"z `id`.gguf", "a\nb.gguf", "-rf.gguf"]
)
def test_a_hostile_file_name_is_one_word_of_a_shell(client: Client, name: str) -> None:
    commit = make_commit(make_repo("evil/names"), {name: 20 * MEGA})
    make_header(commit.files.get(), 1, format="gguf")
    shown = commands(client, "/evil/names")
    assert len(shlex.split(shown["curl"])) == 3
    assert shlex.split(shown["check"].split(" | ")[0])[1].endswith(name)
    assert len(shlex.split(shown["holdfast"])) == 3
    assert len(shlex.split(shown["llama.cpp"])) == 4


def test_damage_is_said_first(client: Client) -> None:
    base = make_family()["base"]
    Blob.objects.filter(files__commit=base.head, files__path="config.json").update(state="damaged")
    shown = page(client)
    assert "Kept, with damage" in shown
    assert "5 of 6 blobs" in shown


def test_a_refused_header_is_a_notice_with_its_reason(client: Client) -> None:
    base = make_family()["base"]
    blob = base.head.files.get(path="model-00001-of-00002.safetensors").blob
    Header.objects.filter(blob=blob).update(
        error_code="st-overlap", error_message="two tensors share bytes 0 to 8."
    )
    for url in (
        "/kelp/open-8b",
        "/kelp/open-8b/tensors",
        "/kelp/open-8b/blob/main/model-00001-of-00002.safetensors",
    ):
        shown = page(client, url)
        assert "two tensors share bytes 0 to 8." in shown, url
        assert "st-overlap" in shown, url
    assert "header refused" in page(client, "/kelp/open-8b/tree/main")


def test_a_repo_that_holds_nothing_yet_says_when_it_will(client: Client) -> None:
    make_repo("kelp/coming")
    assert "Nothing is held yet." in page(client, "/kelp/coming")
    for tab in ("tree", "commits", "lineage", "validation", "events"):
        assert client.get(f"/kelp/coming/{tab}").status_code == 200, tab


def test_the_name_is_found_whatever_the_case_of_its_letters(client: Client) -> None:
    make_family()
    assert "kelp/open-8b" in page(client, "/KELP/Open-8B")


def test_the_card_is_shown_without_its_images(client: Client) -> None:
    make_family()
    shown = page(client)
    assert "<h3>Open Kelp 8B</h3>" in shown
    assert "evil.example" not in shown
    assert 'href="/kelp/open-8b/blob/main/LICENSE"' in shown


def test_the_directory_it_came_from_is_for_staff_only(client: Client, alice: User) -> None:
    upstream = Upstream.objects.create(kind="directory", endpoint="/srv/private/weights")
    repo = make_repo("kelp/local")
    make_commit(repo, {"config.json": 5})
    Repo.objects.filter(pk=repo.pk).update(upstream=upstream)
    Event.objects.create(
        type="ingestion", repo=repo, agent="x", summary="mirrored from dir:/srv/private/weights: 1 file"
    )
    urls = ["/kelp/local", "/kelp/local/events", "/", "/?upstream=directory"]
    assert all("/srv/private" not in page(client, url) for url in urls)
    client.force_login(alice)
    assert "/srv/private/weights" in page(client, "/kelp/local")
    assert "/srv/private/weights" in page(client, "/kelp/local/events")


def test_artifacts_of_another_commit_are_not_offered_for_this_one(client: Client) -> None:
    base = make_family()["base"]
    make_commit(base, {"model.safetensors": 7 * MEGA, "config.json": 800}, title="New weights")
    shown = page(client)
    assert "Q8_0" not in shown
    assert "Q8_0" in page(client, f"/kelp/open-8b?revision={base.commits.order_by('pk').first().commit_hash}")


def test_a_derived_repo_lists_its_files_as_variants_with_their_verdicts(client: Client) -> None:
    make_family()
    shown = page(client, "/kelp/open-8b-GGUF")
    assert "Quantization of" in shown
    assert shown.count("Verified") >= 3
    assert commands(client, "/kelp/open-8b-GGUF")["holdfast"].endswith("kelp/open-8b-GGUF:Q8_0")


def test_an_artifact_that_waits_for_its_verdict_is_shown_as_such(client: Client) -> None:
    base = make_family()["base"]
    artifact = make_artifact(base.head, "BF16", 16 * MEGA, verdict="damaged")
    artifact.validations.all().delete()
    artifact.state = "unvalidated"
    artifact.save(update_fields=["state"])
    assert "waits for test inference" in page(client)
    assert "waits for test inference" in page(client, f"/kelp/open-8b/validation/{artifact.blob.sha256}")


def test_a_file_of_two_repos_says_where_else_it_is(client: Client) -> None:
    base = make_family()["base"]
    file = base.head.files.get(path="LICENSE")
    twin = make_commit(make_repo("kelp/twin"), {"x.json": 3})
    File.objects.create(
        commit=twin, path="LICENSE", blob=file.blob, size_bytes=file.size_bytes, git_oid=file.git_oid
    )
    assert "kelp/twin" in page(client, "/kelp/open-8b/blob/main/LICENSE")


def test_the_first_commit_keeps_its_page_when_main_moves_on(client: Client) -> None:
    repo = make_repo("kelp/moves")
    old = make_commit(repo, {"a.json": 5}, card="first words")
    make_commit(repo, {"a.json": 6}, card="second words")
    assert Commit.objects.filter(repo=repo).count() == 2
    assert "first words" in page(client, f"/kelp/moves?revision={old.commit_hash}")
    assert "second words" in page(client, "/kelp/moves")
