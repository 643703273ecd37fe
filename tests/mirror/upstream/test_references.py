"""What people type to name an upstream."""

from pathlib import Path

import pytest

from mirror.upstream import UpstreamRef, parse_upstream_ref
from mirror.upstream.base import BadUpstreamRef


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hf://org/name", UpstreamRef("huggingface", "https://huggingface.co", "org/name")),
        ("hf://gpt2", UpstreamRef("huggingface", "https://huggingface.co", "gpt2")),
        ("hf://org/name@v1.0", UpstreamRef("huggingface", "https://huggingface.co", "org/name", "v1.0")),
        ("hf://org/name@refs/pr/1", UpstreamRef("huggingface", "https://huggingface.co", "org/name", "refs/pr/1")),
        ("hf+http://127.0.0.1:8000/org/name@x", UpstreamRef("huggingface", "http://127.0.0.1:8000", "org/name", "x")),
        ("hf+https://hub.example/org/name", UpstreamRef("huggingface", "https://hub.example", "org/name")),
        ("hf://datasets/org/name",
         UpstreamRef("huggingface", "https://huggingface.co", "org/name", repo_type="dataset")),
    ],
)  # fmt: skip
def test_a_reference_means_one_thing_and_is_written_back_the_same(text: str, meant: UpstreamRef) -> None:
    assert parse_upstream_ref(text) == meant
    assert str(meant) == text


def test_the_default_hub_is_a_setting() -> None:
    assert (
        parse_upstream_ref("hf://org/name", hub_endpoint="http://mirror:8000/").endpoint
        == "http://mirror:8000"
    )


def test_a_folder_may_have_an_at_in_its_name_and_may_be_given_a_revision(tmp_path: Path) -> None:
    folder = tmp_path / "my@model"
    folder.mkdir()
    assert parse_upstream_ref(f"dir:{folder}").revision == "main"
    with_revision = parse_upstream_ref(f"dir:{folder}@v1")
    assert (with_revision.endpoint, with_revision.revision) == (str(folder), "v1")
    assert parse_upstream_ref(f"dir:{folder}").repo_id == "local/my-model"


@pytest.mark.parametrize(
    "text",
    ["", "org/name", "http://x/org/name", "hf://", "hf://a/b/c", "hf://../x", "hf://org/name@", "dir:", "dir:/no/such",
     "hf+ftp://x/org/name", "hf+http://user@host/org/name", "hf://org name/x"],
)  # fmt: skip
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadUpstreamRef, match="hf://org/name"):
        parse_upstream_ref(text)
