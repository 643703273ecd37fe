"""A name belongs to one upstream, once and for all, and to one owner there until an operator says otherwise."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from mirror.opening import open_client
from mirror.owners import HeldForReview, release
from mirror.routing import BoundElsewhere, bind, candidates
from mirror.sync import submit_mirror
from mirror.upstream import RemoteCommit, UpstreamRef, parse_upstream_ref
from registry import work
from registry.models import Binding, Commit, Event, Job, Organisation, Repo, Upstream
from tests.services.hub import Hub

FIRST, SECOND = "https://first.example", "https://second.example"
FILES: dict[str, Any] = {"config.json": b"{}", "README.md": b"# A model\n"}


@pytest.fixture(autouse=True)
def _pull_through(settings: Any) -> None:
    settings.HOLDFAST_PULL_THROUGH = [f"hf+{FIRST}", f"hf+{SECOND}/"]
    settings.HOLDFAST_MAX_ATTEMPTS = 1


def asked(repo_id: str = "org/model", repo_type: str = "model") -> list[str]:
    return [ref.endpoint for ref in candidates(repo_type, repo_id)]


def answer(repo_id: str = "org/model", *, object_id: str = "id-1", author: str = "org") -> RemoteCommit:
    return RemoteCommit(repo_id, "1" * 40, info={"_id": object_id, "author": author})


def at(endpoint: str, repo_id: str = "org/model") -> UpstreamRef:
    return UpstreamRef("huggingface", endpoint, repo_id)


# --- whom to ask ------------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestCandidates:
    def test_an_unknown_name_is_asked_for_in_the_order_of_the_setting(self) -> None:
        assert asked() == [FIRST, SECOND]
        dataset = candidates("dataset", "org/data", "v1")
        assert str(dataset[0]) == f"hf+{FIRST}/datasets/org/data@v1"

    def test_nobody_is_asked_and_nothing_queried_without_the_setting(
        self, settings: Any, django_assert_num_queries: Any
    ) -> None:
        settings.HOLDFAST_PULL_THROUGH = []
        with django_assert_num_queries(0):
            assert asked() == []

    def test_names_of_an_organisation_here_are_never_asked_for_elsewhere(self) -> None:
        Organisation.objects.create(name="Acme")
        assert asked("acme/secret-model") == asked("ACME/secret-model") == []

    def test_names_of_a_user_are_not_either_even_before_the_first_repo(self) -> None:
        User.objects.create_user("Alice")
        assert asked("alice/model") == []

    @pytest.mark.parametrize("name", ["api/model", "V2/model", "models/x"])
    def test_reserved_namespaces_are_not_either(self, name: str) -> None:
        assert asked(name) == []

    def test_a_repo_that_came_from_nowhere_is_not_asked_for(self) -> None:
        Repo.objects.create(repo_id="org/model-GGUF", namespace="org", name="model-GGUF")
        assert asked("ORG/model-gguf") == []
        assert asked("org/model") == [FIRST, SECOND]

    def test_a_bound_name_is_asked_for_at_its_upstream_only_also_after_the_repo_was_deleted(self) -> None:
        bind("org/model", at(SECOND), answer())
        assert not Repo.objects.exists()
        assert asked("ORG/Model") == [SECOND]
        assert asked("org/model", "dataset") == [FIRST, SECOND]

    def test_an_upstream_that_the_setting_no_longer_names_is_not_asked(self, settings: Any) -> None:
        bind("org/model", at(SECOND), answer())
        settings.HOLDFAST_PULL_THROUGH = [f"hf+{FIRST}"]
        assert asked() == []

    def test_what_is_called_otherwise_here_is_asked_for_by_the_name_it_has_there(self) -> None:
        upstream = Upstream.objects.create(kind="huggingface", endpoint=SECOND)
        Binding.objects.create(
            repo_type="model", repo_id="here/model", upstream=upstream, upstream_repo_id="org/model"
        )
        assert candidates("model", "here/model") == [at(SECOND)]

    @pytest.mark.parametrize(
        "name", ["a/../b", "org/a--b", "org/name.git", "org/nämé", "a/b/c", "", "/", "org/", "-/x"]
    )
    def test_what_no_hub_can_have_is_not_asked_for(self, name: str) -> None:
        assert asked(name) == []

    def test_the_setting_can_narrow_what_is_asked_for(self, settings: Any) -> None:
        settings.HOLDFAST_PULL_THROUGH_ALLOW = ["Qwen/*", "*/tiny-*"]
        assert asked("qwen/Qwen9") == asked("org/tiny-llama") == [FIRST, SECOND]
        assert asked("org/model") == []


# --- binding ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestBind:
    def test_the_first_that_has_it_keeps_it(self) -> None:
        binding = bind("org/model", at(FIRST), answer())
        assert (binding.owner, binding.upstream_object_id, binding.state) == ("org", "id-1", "bound")
        with pytest.raises(BoundElsewhere, match=r"first\.example.*second\.example"):
            bind("org/model", at(SECOND), answer())
        assert bind("org/model", at(FIRST), answer()).pk == binding.pk

    def test_a_repo_of_another_upstream_is_not_taken_over(self) -> None:
        upstream = Upstream.objects.create(kind="huggingface", endpoint=FIRST)
        Repo.objects.create(
            repo_id="org/model",
            namespace="org",
            name="model",
            upstream=upstream,
            upstream_repo_id="org/model",
        )
        assert asked() == [FIRST]
        with pytest.raises(BoundElsewhere):
            bind("org/model", at(SECOND), answer())
        assert not Binding.objects.exists()

    def test_a_repo_of_ours_under_a_bound_name_is_not_mixed_with_upstreams(self) -> None:
        bind("org/model", at(FIRST), answer())
        Repo.objects.create(repo_id="org/model", namespace="org", name="model")
        assert asked() == []
        with pytest.raises(BoundElsewhere, match="this registry"):
            bind("org/model", at(FIRST), answer())

    def test_a_name_that_moved_upstream_is_bound_under_both_names(self) -> None:
        binding = bind("old/name", at(SECOND, "old/name"), answer("New/Name", author="New"))
        assert binding.repo_id == "New/Name"
        assert asked("old/name") == asked("new/name") == [SECOND]

    def test_a_name_that_is_called_otherwise_upstream_binds_itself_only(self) -> None:
        upstream = Upstream.objects.create(kind="huggingface", endpoint=FIRST)
        Binding.objects.create(
            repo_type="model", repo_id="here/model", upstream=upstream, upstream_repo_id="org/model"
        )
        [ref] = candidates("model", "here/model")
        assert bind("here/model", ref, answer()).owner == "org"
        assert [row.repo_id for row in Binding.objects.all()] == ["here/model"]

    def test_upstream_cannot_lead_to_a_name_of_ours(self) -> None:
        Organisation.objects.create(name="acme")
        with pytest.raises(BoundElsewhere, match="this registry"):
            bind("old/name", at(FIRST, "old/name"), answer("acme/model"))
        assert not Binding.objects.exists()

    def test_upstream_cannot_lead_to_a_name_of_another_upstream(self) -> None:
        bind("org/model", at(SECOND), answer())
        with pytest.raises(BoundElsewhere):
            bind("evil/link", at(FIRST, "evil/link"), answer("org/model"))
        assert asked("evil/link") == [FIRST, SECOND]

    @pytest.mark.django_db(transaction=True)
    def test_of_many_who_race_for_a_name_all_agree_on_one_upstream(self) -> None:
        start, won, lost = threading.Barrier(6), list[str](), list[str]()

        def race(endpoint: str) -> None:
            start.wait()
            try:
                won.append(bind("org/model", at(endpoint), answer()).upstream.endpoint)
            except BoundElsewhere:
                lost.append(endpoint)
            finally:
                connection.close()

        threads = [threading.Thread(target=race, args=(endpoint,)) for endpoint in [FIRST, SECOND] * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == len(lost) == 3
        assert {*won} == {Binding.objects.get().upstream.endpoint}


# --- another owner ----------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestOwners:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"object_id": "id-2"}, "upstream's id of the repo was id-1 and is now id-2"),
            ({"author": "mallory"}, "its owner was org and is now mallory"),
        ],
    )
    def test_another_id_or_owner_is_held_for_review(self, change: dict[str, str], told: str) -> None:
        bind("org/model", at(FIRST), answer())
        for _ in range(2):
            with pytest.raises(HeldForReview, match=told):
                bind("org/model", at(FIRST), answer(**change))
        event = Event.objects.get()
        assert (event.outcome, told in event.summary) == ("warning", True)
        assert asked() == []

    def test_while_it_is_held_even_the_old_owner_gives_nothing(self) -> None:
        binding = bind("org/model", at(FIRST), answer())
        with pytest.raises(HeldForReview):
            bind("org/model", at(FIRST), answer(object_id="id-2"))
        with pytest.raises(HeldForReview):
            bind("org/model", at(FIRST), answer())
        binding.refresh_from_db()
        assert binding.state == "held"

    def test_a_release_accepts_what_was_seen_and_nothing_else(self) -> None:
        bind("org/model", at(FIRST), answer())
        with pytest.raises(HeldForReview):
            bind("org/model", at(FIRST), answer(object_id="id-2", author="mallory"))
        release(Binding.objects.get(), by="alice")
        assert Event.objects.latest("pk").agent == "alice"
        assert bind("org/model", at(FIRST), answer(object_id="id-2", author="mallory")).state == "bound"
        with pytest.raises(HeldForReview):
            bind("org/model", at(FIRST), answer(object_id="id-3", author="mallory"))

    def test_what_an_upstream_did_not_say_is_learned_when_it_does(self) -> None:
        bind("org/model", at(FIRST), RemoteCommit("org/model", "1" * 40))
        assert bind("org/model", at(FIRST), answer()).upstream_object_id == "id-1"
        with pytest.raises(HeldForReview):
            bind("org/model", at(FIRST), answer(object_id="id-2"))

    def test_another_spelling_of_the_owner_is_the_same_owner(self) -> None:
        bind("org/model", at(FIRST), answer(author="Org"))
        assert bind("org/model", at(FIRST), answer(author="org")).state == "bound"


# --- mirror jobs ------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.add("org/model", FILES)
        yield running


def mirror(hub: Hub, repo_id: str = "") -> Job:
    job = submit_mirror(parse_upstream_ref(f"hf+{hub.url}/org/model"), repo_id=repo_id, send_nudge=False)
    work.run_job(job.pk)
    job.refresh_from_db()
    return job


@pytest.mark.django_db(transaction=True)
class TestMirrorJobs:
    def test_an_explicit_mirror_binds_the_name(self, hub: Hub) -> None:
        assert mirror(hub, "here/model").state == "succeeded"
        binding = Binding.objects.get()
        assert (binding.repo_id, binding.upstream_repo_id) == ("here/model", "org/model")
        assert binding.owner == "org"

    def test_a_name_keeps_its_upstream_after_the_repo_was_deleted(self, hub: Hub) -> None:
        bind("org/model", at(FIRST), answer())
        job = mirror(hub)
        assert (job.state, job.error_code) == ("failed", "bound-elsewhere")
        assert hub.seen("resolve") == []
        assert not Repo.objects.exists()

    def test_a_job_that_failed_binds_nothing(self, hub: Hub) -> None:
        hub.fault("corrupt", path="README.md", at=0)
        assert mirror(hub).error_code == "wrong-digest"
        assert not Binding.objects.exists()

    def test_a_new_owner_gives_nothing_until_an_operator_releases_the_name(self, hub: Hub) -> None:
        mirror(hub)
        hub.repos["org/model"].author = "mallory"
        hub.add("org/model", {**FILES, "evil.py": b"import os"})
        n_requests = len(hub.seen("resolve"))
        job = mirror(hub)
        assert (job.state, job.error_code) == ("failed", "held-for-review")
        assert "manage.py upstreams release org/model" in job.error_message
        assert len(hub.seen("resolve")) == n_requests
        assert Commit.objects.count() == 1
        assert Event.objects.get(outcome="warning").repo == Repo.objects.get()
        for url in (
            "/api/models/org/model",
            "/org/model/resolve/main/config.json",
            "/org/model/resolve/main/none",
        ):
            told = Client().head(url)["X-HF-Warning"]
            assert told.startswith(
                "held-for-review; org/model is served as it was, and not brought up to date: its "
            )
        release(Binding.objects.get(), by="alice")
        assert mirror(hub).state == "succeeded"
        assert Commit.objects.count() == 2
        assert "X-HF-Warning" not in Client().get("/api/models/org/model")

    def test_a_pulled_through_name_is_that_of_the_hub_that_answers(self, hub: Hub, settings: Any) -> None:
        settings.HOLDFAST_PULL_THROUGH = [f"hf+{hub.url}"]
        [ref] = candidates("model", "ORG/Model".lower())
        binding = bind("org/model", ref, open_client(ref).resolve(ref.repo_id, ref.revision))
        assert binding.upstream.endpoint == hub.url
        assert binding.upstream_object_id
