"""The reference grammar, piece by piece."""

import pytest
from holdfast.errors import UsageError
from holdfast.reference import Reference, address, parse_reference
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("org/name", ("org/name", "main", None, None, None)),
        ("name", ("name", "main", None, None, None)),
        ("org/name@v1.0", ("org/name", "v1.0", None, None, None)),
        ("org/name@refs/pr/1:q8_0", ("org/name", "refs/pr/1", "q8_0", None, None)),
        ("org/name:Q4_K_M", ("org/name", "main", "Q4_K_M", None, None)),
        ("org/name:model-Q8_0.gguf", ("org/name", "main", "model-Q8_0.gguf", None, None)),
        ("org/name@main//a/b.txt", ("org/name", "main", None, "a/b.txt", None)),
        ("org/name//folder/", ("org/name", "main", None, "folder", None)),
        ("org/name@x:Q8_0//a b", ("org/name", "x", "Q8_0", "a b", None)),
        ("hf://org/name@main", ("org/name", "main", None, None, "hf://")),
        ("http://host:8000/org/name@v1", ("org/name", "v1", None, None, "http://host:8000")),
        ("https://host/hub/v2/org/name:Q8_0", ("org/name", "main", "Q8_0", None, "https://host/hub/v2")),
        ("localhost:8000/org/name", ("org/name", "main", None, None, "http://localhost:8000")),
        (
            "models.example/org/name@refs/pr/1",
            ("org/name", "refs/pr/1", None, None, "https://models.example"),
        ),
        ("file:///media/disk/org/name", ("org/name", "main", None, None, "file:///media/disk")),
        ("file:///org/name@v1:Q8_0//a/b", ("org/name", "v1", "Q8_0", "a/b", "file:///")),
        ("file:///C:/models/org/name:Q8_0", ("org/name", "main", "Q8_0", None, "file:///C:/models")),
        ("file:///a%20b/org/name@refs/pr/1", ("org/name", "refs/pr/1", None, None, "file:///a%20b")),
        (
            "oci://models.example:5000/org/name:Q8_0",
            ("org/name", "Q8_0", None, None, "oci://models.example:5000"),
        ),
        ("oci://localhost:5000/org/name", ("org/name", "latest", None, None, "oci://localhost:5000")),
        ("ollama://llama3.2:1b", ("library/llama3.2", "1b", None, None, "oci://registry.ollama.ai")),
        ("ollama://me/own//model.gguf", ("me/own", "latest", None, "model.gguf", "oci://registry.ollama.ai")),
        ("ollama://models.example/org/name:q4_0", ("org/name", "q4_0", None, None, "oci://models.example")),
        ("with.dots/name@refs/pr/1", ("with.dots/name", "refs/pr/1", None, None, None)),
    ],
)
def test_every_part_is_found(text: str, parts: tuple[str, ...]) -> None:
    found = parse_reference(text)
    assert (found.repo_id, found.revision, found.variant, found.path, found.index_url) == parts


@pytest.mark.parametrize(
    "text",
    ["", "/", "org/", "/name", "org/name@", "org/name:", "org/name//", "org/name/extra", "../name", "org/..", "-a/b",
     "org/a--b", "org/name@../x", "org/name@a//", "org/name@/x", "org/name@.hidden", "org/name@a\x1b", "org/nam e",
     "http://user:pw@host/org/name", "http://host", "file:///passwd", "file://host/org/name", "file://org/name",
     "oci://x/y", "oci://host.example/org/name@v1", "ollama://a@b", "ollama://", "s9://a/b",
     "oci://host.example/a/b/c", "ollama://../x", "ftp://host/org/name",
     "sha256:" + "a" * 64, "sha256:abc", "org/" + "n" * 97],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_reference(text)
    assert "org/name" in refused.value.hint


@given(st.text(max_size=60))
def test_any_text_gives_a_reference_or_a_usage_error(text: str) -> None:
    try:
        found = parse_reference(text)
    except UsageError:
        return
    assert isinstance(found, Reference)
    assert ".." not in found.repo_id
    assert not found.revision.startswith(("/", "."))


@pytest.mark.parametrize(
    "text",
    ["org/name", "org/name@v1.0", "hf://org/name", "http://host:8000/org/name@v1", "https://host/hub/v2/org/name",
     "file:///media/disk/org/name@refs/pr/1", "oci://host.example/org/name:latest"],
)  # fmt: skip
def test_the_address_of_a_reference_names_it(text: str) -> None:
    assert address(parse_reference(text)) == text
    assert address(parse_reference(f"{text}//a/b")) == text
