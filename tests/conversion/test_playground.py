"""Staff let a file say something: streamed, bounded, one at a time, and nobody else may."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversion.formats.gguf.writer import string
from registry.models import Artifact
from tests.conversion.artifacts import make_artifact, sample_commit
from tests.conversion.inference.planted.family import rebuilt

pytestmark = pytest.mark.django_db

API = "/api/holdfast/v1/playground"
PROMPT = "And it came to pass"


@pytest.fixture
def artifact(converted: Any) -> Artifact:
    return make_artifact(sample_commit(), "Q8_0", converted("Q8_0"))


@pytest.fixture
def staff(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def ask(client: Client, artifact: Artifact, **wishes: Any) -> Any:
    question = {"repo": "tinyfamily/base-f32", "sha256": artifact.blob.sha256, "prompt": PROMPT} | wishes
    return client.post(API, question, content_type="application/json")


def lines(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.content
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def leave(response: Any) -> None:
    """What Django does when the visitor goes away, without the signal that would close the test's database."""
    for close in response._resource_closers:
        close()


@pytest.mark.one_backend
def test_a_text_comes_in_pieces_and_the_same_seed_gives_it_again(staff: Client, artifact: Artifact) -> None:
    *pieces, end = lines(ask(staff, artifact, max_tokens=12))
    greedy = "".join(piece["text"] for piece in pieces)
    assert greedy.startswith(", and said, What is the king")
    assert len(pieces) > 3
    assert (end["done"], end["n_tokens"]) == ("length", 12)
    wish = {"temperature": 1.5, "top_p": 0.9, "seed": 7, "max_tokens": 12}
    first, again = (
        "".join(line.get("text", "") for line in lines(ask(staff, artifact, **wish))) for _ in range(2)
    )
    assert first == again != greedy


CHAT = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}, and said,"


def with_template(converted: Any, path: Path, template: str) -> Artifact:
    found = rebuilt(
        converted("Q8_0"), path, lambda metadata: {**metadata, "tokenizer.chat_template": string(template)}
    )
    return make_artifact(sample_commit(), "Q8_0", found)


@pytest.mark.one_backend
def test_a_model_with_a_chat_template_is_asked_by_it_unless_raw(
    staff: Client, converted: Any, tmp_path: Path
) -> None:
    artifact = with_template(converted, tmp_path / "chat.gguf", CHAT)
    prompt, *pieces, _ = lines(ask(staff, artifact, max_tokens=6))
    assert prompt == {"prompt": f"<s>{PROMPT}, and said,"}
    assert "".join(piece["text"] for piece in pieces).startswith(" What is the king")
    first, *_ = lines(ask(staff, artifact, max_tokens=6, raw=True))
    assert first["text"].startswith(",")


@pytest.mark.one_backend
def test_a_template_that_attacks_is_refused_in_the_stream_and_raw_goes_without(
    staff: Client, converted: Any, tmp_path: Path
) -> None:
    artifact = with_template(converted, tmp_path / "bad.gguf", "{{ ''.__class__.__mro__ }}")
    (line,) = lines(ask(staff, artifact))
    assert line["code"] == "template-attacks"
    assert "Ask with `raw`" in line["error"]
    assert lines(ask(staff, artifact, max_tokens=2, raw="1"))[-1]["done"] == "length"


@pytest.mark.one_backend
def test_one_text_at_a_time_and_leaving_frees_the_seat(staff: Client, artifact: Artifact) -> None:
    first = ask(staff, artifact, max_tokens=200)
    assert next(iter(first.streaming_content))
    busy = ask(staff, artifact)
    assert (busy.status_code, busy["Retry-After"], busy.json()["code"]) == (429, "5", "playground-busy")
    leave(first)
    leave(ask(staff, artifact))  # before the first byte
    leave(ask(staff, artifact))


@pytest.mark.one_backend
def test_a_form_without_script_gets_plain_text(alice: User, artifact: Artifact) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    page = browser.get(f"/playground?repo=tinyfamily/base-f32&sha256={artifact.blob.sha256}").content.decode()
    form = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', page))
    response = browser.post(
        API, form | {"prompt": PROMPT, "max_tokens": "3"}, headers={"Accept": "text/html"}
    )
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "[length: 3 tokens in" in b"".join(response.streaming_content).decode()


@pytest.mark.parametrize(
    ("wishes", "status", "code"),
    [
        ({"prompt": " "}, 400, "bad-question"),
        ({"max_tokens": 257}, 400, "bad-question"),
        ({"temperature": "warm"}, 400, "bad-question"),
        ({"top_p": 0}, 400, "bad-question"),
        ({"raw": "perhaps"}, 400, "bad-question"),
        ({"sha256": "ab" * 32}, 404, "no-such-file"),
        ({"repo": "no\0thing"}, 404, "no-such-file"),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_runs(
    staff: Client, wishes: dict[str, Any], status: int, code: str
) -> None:
    artifact = make_artifact(sample_commit(), "Q8_0", b"not opened")
    response = ask(staff, artifact, **wishes)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.one_backend
def test_a_file_that_does_not_load_says_so_in_the_stream(staff: Client) -> None:
    (line,) = lines(ask(staff, make_artifact(sample_commit(), "Q8_0", b"GGUF but not really")))
    assert line["code"] == "load-refused"


def test_it_is_for_staff_with_a_token_against_forgery_and_can_be_closed(
    client: Client, alice: User, charlie: User, settings: Any
) -> None:
    artifact = make_artifact(sample_commit(), "Q8_0", b"not opened")
    page = f"/playground?repo=tinyfamily/base-f32&sha256={artifact.blob.sha256}"
    assert ask(client, artifact).status_code == 401
    assert client.get(page).url.startswith("/account/sign-in")
    client.force_login(charlie)
    assert ask(client, artifact).status_code == 403
    assert client.get(page).status_code == 404
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(alice)
    assert forged.post(API, {"prompt": "x"}).status_code == 403
    client.force_login(alice)
    assert 'name="csrfmiddlewaretoken"' in client.get(page).content.decode()
    settings.HOLDFAST_PLAYGROUND_AT_ONCE = 0
    assert ask(client, artifact).json()["code"] == "playground-closed"
    assert "It is closed." in client.get(page).content.decode()
