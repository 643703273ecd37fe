"""`manage.py upstreams`: what an operator sees and decides about the places we copy from."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mirror.owners import HeldForReview
from mirror.routing import bind, binding_of
from mirror.tokens import keep_token, token_for
from mirror.upstream import RemoteCommit, UpstreamRef
from registry.models import Binding, Event, Repo, Upstream

pytestmark = [pytest.mark.django_db, pytest.mark.one_backend]

HUB, OTHER = "https://hub.example", "https://other.example"
SECRET = "hf_secretsecretsecret"


@pytest.fixture(autouse=True)
def _pull_through(settings: Any) -> None:
    settings.HOLDFAST_PULL_THROUGH = [f"hf+{OTHER}", f"hf+{HUB}"]


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("upstreams", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def fails(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as failure:
        run(*arguments)
    return str(failure.value), failure.value.returncode


def answer(object_id: str = "id-1") -> RemoteCommit:
    return RemoteCommit("org/model", "1" * 40, info={"_id": object_id, "author": "org"})


def hold(endpoint: str = HUB) -> Binding:
    ref = UpstreamRef("huggingface", endpoint, "org/model")
    bind("org/model", ref, answer())
    with pytest.raises(HeldForReview):
        bind("org/model", ref, answer("id-2"))
    return Binding.objects.get()


def give_token(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


# --- showing ----------------------------------------------------------------------------------------------


def test_nothing_is_said_to_be_nothing() -> None:
    assert "no upstreams" in run("list")
    assert "No name is held" in run("held")
    assert run_json("list") == run_json("held") == run_json("bindings") == []


def test_the_list_has_health_pace_place_and_numbers_but_no_token() -> None:
    hold()
    row = Upstream.objects.get()
    keep_token(row, SECRET)
    Upstream.objects.update(trouble="status 503", requests_per_second=4, learned_per_second=2.5)
    [facts] = run_json("list")
    assert (facts["upstream"], facts["pull_through"], facts["token"]) == (HUB, 2, "kept")
    assert (facts["bound"], facts["held"], facts["per_second"], facts["trouble"]) == (1, 1, 2.5, "status 503")
    for shown in (json.dumps(facts), run("list")):
        assert SECRET not in shown
        assert row.sealed_token not in shown
    assert "held for review: 1; token: kept" in run("list")


def test_a_token_that_cannot_be_opened_is_said_to_be_unreadable(settings: Any) -> None:
    keep_token(Upstream.objects.create(kind="huggingface", endpoint=HUB), SECRET)
    settings.SECRET_KEY = "another"
    assert run_json("list")[0]["token"] == "unreadable"
    settings.HOLDFAST_UPSTREAM_TOKENS = ["hub.example=hf_env"]
    assert run_json("list")[0]["token"] == "environment"


def test_bindings_of_one_upstream_can_be_asked_for() -> None:
    bind("org/model", UpstreamRef("huggingface", HUB, "org/model"), answer())
    data = UpstreamRef("huggingface", OTHER, "org/data", repo_type="dataset")
    bind("org/data", data, RemoteCommit("org/data", "1" * 40))
    assert [row["name"] for row in run_json("bindings")] == ["datasets/org/data", "org/model"]
    assert [row["name"] for row in run_json("bindings", "hub.example")] == ["org/model"]
    assert fails("bindings", "https://never.example")[1] == 1


# --- deciding ---------------------------------------------------------------------------------------------


def test_a_held_name_is_released_by_name_and_the_event_says_by_whom() -> None:
    hold()
    assert "id-1 and is now id-2" in run("held")
    assert run_json("release", "ORG/model", "--by", "alice")["upstream_object_id"] == "id-2"
    assert Event.objects.latest("pk").agent == "alice"
    assert fails("release", "org/model")[1] == 1


def test_a_name_can_be_bound_before_anybody_asks() -> None:
    assert run_json("bind", "org/model", HUB)["upstream"] == HUB
    assert "bound-elsewhere" in fails("bind", "org/model", OTHER)[0]
    assert run_json("bind", "org/model", OTHER, "--instead")["upstream"] == OTHER
    assert Event.objects.latest("pk").detail["instead_of"] == HUB


def test_a_repo_that_is_here_keeps_its_upstream_whatever_is_said() -> None:
    upstream = Upstream.objects.create(kind="huggingface", endpoint=HUB)
    Repo.objects.create(
        repo_id="org/model", namespace="org", name="model", upstream=upstream, upstream_repo_id="org/model"
    )
    assert fails("bind", "org/model", OTHER, "--instead")[1] == 1
    Repo.objects.create(repo_id="org/ours", namespace="org", name="ours")
    assert "belongs to this registry" in fails("bind", "org/ours", OTHER)[0]
    run("bind", "datasets/org/ours", "hf://")
    assert str(binding_of("dataset", "org/ours")) == "org/ours -> https://huggingface.co"


# --- tokens and pace --------------------------------------------------------------------------------------


def test_a_token_is_read_from_stdin_kept_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    give_token(monkeypatch, f"{SECRET}\n")
    assert SECRET not in run("token", "set", HUB)
    assert token_for("huggingface", HUB) == SECRET
    run("token", "clear", "hub.example")
    assert token_for("huggingface", HUB) is None


@pytest.mark.parametrize("text", ["", "\n", "two words\n", "x" * 5000])
def test_what_is_no_token_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    give_token(monkeypatch, text)
    message, _ = fails("token", "set", HUB)
    assert not text.strip() or text.strip() not in message
    assert not Upstream.objects.exclude(sealed_token="").exists()


def test_all_tokens_are_sealed_anew_after_the_secret_key_changed(settings: Any) -> None:
    keep_token(Upstream.objects.create(kind="huggingface", endpoint=HUB), SECRET)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert run_json("token", "reseal") == {"resealed": 1}
    settings.SECRET_KEY_FALLBACKS = []
    assert token_for("huggingface", HUB) == SECRET


def test_a_folder_needs_no_token(tmp_path: Path) -> None:
    Upstream.objects.create(kind="directory", endpoint=str(tmp_path))
    assert fails("token", "clear", str(tmp_path))[1] == 2


def test_a_pace_is_set_and_taken_back_and_a_pause_ended() -> None:
    assert run_json("pace", "hf+https://hub.example", "--per-second", "2.5")["per_second"] == 2.5
    Upstream.objects.update(learned_per_second=1, ceiling_per_second=1)
    assert run_json("pace", HUB, "--resume")["per_second"] == 2.5
    assert run_json("pace", HUB, "--unlimited")["per_second"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("pace", HUB, "--per-second", "0"),
        ("pace", HUB, "--per-second", "nan"),
        ("pace", HUB, "--per-second", "inf"),
        ("pace", "hf://org/model", "--unlimited"),
        ("bind", "org", HUB),
        ("bind", "org/model", "ftp://hub.example"),
        ("token", "set"),
        ("release", "datasets/org"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_with_status_2(arguments: tuple[str, ...]) -> None:
    assert fails(*arguments)[1] == 2
    assert not Upstream.objects.exists()
