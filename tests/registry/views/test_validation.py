import pytest
from django.test import Client

from registry.models import Artifact
from registry.views.validation import checks_of, samples_of
from tests.registry.views.seed import judge, make_family

pytestmark = pytest.mark.django_db


@pytest.fixture
def artifact(db: None) -> Artifact:
    return make_family()["base"].head.artifacts.get(recipe__name="Q8_0")


def report(client: Client, artifact: Artifact, query: str = "", repo_id: str = "kelp/open-8b") -> str:
    response = client.get(f"/{repo_id}/validation/{artifact.blob.sha256}{query}")
    assert response.status_code == 200
    return response.content.decode()


def test_a_report_tells_verdict_checks_figures_and_samples(client: Client, artifact: Artifact) -> None:
    html = report(client, artifact)
    for words in ("<b>Verified.</b>", "mean KL divergence 0.0014", "8 checks", "sha256 equals the manifest", "Skipped",
                  "97.70\u202f%", "llama.cpp 2026.10.11549", "version 2, 8 bit class", "The holdfast of a kelp:",
                  "the same for 11 tokens"):  # fmt: skip
        assert words in html, words


def test_the_same_report_belongs_to_the_derived_repo(client: Client, artifact: Artifact) -> None:
    assert "<b>Verified.</b>" in report(client, artifact, repo_id="kelp/open-8b-GGUF")
    assert client.get(f"/driftline/Skerry-8B/validation/{artifact.blob.sha256}").status_code == 404


def test_a_failed_artifact_says_that_it_is_not_published(client: Client) -> None:
    damaged = make_family()["base"].head.artifacts.get(recipe__name="TQ2_0")
    html = report(client, damaged)
    assert "<b>Damaged.</b>" in html
    assert "It is not published." in html


def test_earlier_runs_stay_readable(client: Client, artifact: Artifact) -> None:
    first = artifact.validations.get()
    judge(artifact, "damaged")
    assert "<b>Damaged.</b>" in report(client, artifact)
    assert "<b>Verified.</b>" in report(client, artifact, f"?run={first.pk}")
    assert "<b>Damaged.</b>" in report(client, artifact, "?run=nonsense")


def test_the_list_has_every_artifact_with_its_newest_verdict(client: Client, artifact: Artifact) -> None:
    html = client.get("/kelp/open-8b/validation").content.decode()
    assert html.count("/kelp/open-8b/validation/") == 4
    assert "not published" in html


def test_a_text_is_marked_from_the_word_where_it_differs() -> None:
    sample = {"prompt": "p", "parent": "one two three", "artifact": "one two thirty", "n_equal_tokens": 2}
    found = samples_of({"samples": [sample]})[0]
    assert (found.same, found.differs) == ("one two ", "thirty")
    same = samples_of({"samples": [sample | {"artifact": "one two three"}]})[0]
    assert same.differs == ""


@pytest.mark.parametrize(
    "report", [{}, {"checks": None}, {"checks": [{}]}, {"checks": [{"id": "new", "limit": {"a": 1}}]}]
)
def test_a_report_of_another_version_is_still_shown(report: dict[str, object]) -> None:
    checks_of(report)
