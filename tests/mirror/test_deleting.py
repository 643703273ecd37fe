"""A repo that is deleted leaves nothing that fails, keeps bytes for ever, or brings it back."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from mirror.blobs.store import BlobStore, blob_key
from mirror.committing import Change, Letter, RepoGone, make_commit, put_small
from mirror.creating import create_repo
from mirror.deleting import StillNeeded, delete_repo
from mirror.hub.errors import HubError
from mirror.hub.verbs import refusals
from mirror.moving import move_repo
from mirror.store import blob_store
from mirror.sweep import sweep_store
from registry.branches import create_branch
from registry.models import (
    Artifact,
    Blob,
    Commit,
    Event,
    File,
    Imatrix,
    Job,
    Lineage,
    Organisation,
    Reading,
    Recipe,
    Ref,
    Repo,
    Validation,
)
from registry.repos import change_settings
from registry.work import submit
from tests.checkpoints import record_commit, record_tag, store_blob

Delete = Callable[[Repo], None]
WEIGHTS, QUANTS = b"weights" * 99, b"quants" * 99


@pytest.fixture
def source(organisation: Organisation) -> Commit:
    """`acme/model`, of which everything was made that can be made of a commit; its quants lie in `acme/model-GGUF`."""
    commit = record_commit("acme/model", {"model.safetensors": WEIGHTS, "x": b"x"}, organisation=organisation)
    home = record_commit("acme/model-GGUF", {"model-Q8_0.gguf": QUANTS}, organisation=organisation)
    record_tag(commit, "v1")
    quants = store_blob(QUANTS)
    recipe = Recipe.objects.create(digest="a" * 64, name="Q8_0", format="gguf", content={})
    artifact = Artifact.objects.create(
        recipe=recipe,
        source=commit,
        path="model-Q8_0.gguf",
        blob=quants,
        state="published",
        published_in=home,
    )
    facts = {"blob": quants, "path": "model-Q8_0.gguf", "report": {}, "engine": "llama.cpp", "passed": True}
    Validation.objects.create(verdict="verified", parent=commit, artifact=artifact, **facts)
    Validation.objects.create(verdict="damaged", parent=commit, **facts)
    Imatrix.objects.create(
        commit=commit, blob=store_blob(b"imatrix"), name="m.imatrix", n_chunks=1, n_entries=1
    )
    Reading.objects.create(key="c" * 64, parent=commit, blob=store_blob(b"reading"))
    Lineage.objects.create(
        child=home.repo, child_commit=home, parent=commit.repo, parent_commit=commit, parent_repo_id="acme/model",
        relation="quantized", evidence="made_here",
    )  # fmt: skip
    submit("convert", key="1", label="convert", params={}, repo=commit.repo, send_nudge=False)
    return commit


@pytest.fixture
def delete(alice: User, django_capture_on_commit_callbacks: Any) -> Delete:
    """Alice deletes a repo."""

    def deleted(repo: Repo) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            delete_repo(blob_store(), alice, repo)

    return deleted


def sweep_all(store: BlobStore) -> None:
    sweep_store(store, grace=timedelta(), now=timezone.now() + timedelta(hours=1))


def test_everything_of_it_goes_and_what_others_hold_stays(source: Commit, delete: Delete) -> None:
    delete(source.repo)
    assert [repo.repo_id for repo in Repo.objects.all()] == ["acme/model-GGUF"]
    assert not Artifact.objects.exists()
    assert not Validation.objects.exists()
    edge = Lineage.objects.get()
    assert (edge.parent, edge.parent_repo_id) == (None, "acme/model")
    assert Job.objects.get().state == "cancelled"
    event = Event.objects.get(type="deletion", agent="alice")
    assert event.summary == "deleted the model acme/model with 1 commits"
    sweep_all(blob_store())
    assert {blob.sha256 for blob in Blob.objects.all()} == {store_blob(QUANTS).sha256}


def test_deleting_where_it_was_published_forgets_that_it_was_made(source: Commit, delete: Delete) -> None:
    delete(Repo.objects.get(repo_id="acme/model-GGUF"))
    assert not Artifact.objects.exists()
    assert Ref.objects.filter(repo=source.repo).count() == 2


def test_what_can_only_be_made_again_from_it_forbids_it(source: Commit, delete: Delete) -> None:
    Blob.objects.filter(artifacts__isnull=False).update(state="evicted")
    with pytest.raises(StillNeeded, match=r"model-Q8_0.gguf of acme/model-GGUF was evicted"):
        delete(source.repo)
    assert Artifact.objects.exists()


def test_its_manifests_go_with_it_and_let_go_of_its_bytes(
    alice: User, organisation: Organisation, delete: Delete
) -> None:
    store = blob_store()
    repo = create_repo(store, alice, organisation, "mine", repo_type="model", private=False)
    twin = create_repo(store, alice, organisation, "twin", repo_type="model", private=False)
    keys = [commit.manifest_key for commit in (repo.head, twin.head) if commit]
    digest = File.objects.filter(commit__repo=repo).values_list("blob__sha256", flat=True)[0]
    delete(repo)
    assert [stat.key for stat in store.list("commits/")] == keys[1:]
    sweep_all(store)
    assert store.stat(blob_key(digest))  # the twin begins with the same file
    delete(twin)
    sweep_all(store)
    assert store.stat(blob_key(digest)) is None


def test_a_manifest_that_a_crash_left_behind_is_swept_unless_the_repo_is_back(
    alice: User, organisation: Organisation, delete: Delete
) -> None:
    store = blob_store()
    repo = create_repo(store, alice, organisation, "mine", repo_type="model", private=False)
    assert repo.head is not None
    key = repo.head.manifest_key
    manifest = store.read(key)
    delete(repo)
    store.put(key, manifest)
    assert sweep_store(store, dry_run=True).manifests == [key]
    assert store.stat(key)
    assert sweep_store(store).manifests == [key]
    assert store.stat(key) is None
    back = record_commit("acme/mine", {".gitattributes": b"other"})
    Commit.objects.filter(pk=back.pk).update(commit_hash=json.loads(manifest)["commit_hash"])
    store.put(key, manifest)
    assert sweep_store(store).manifests == []
    assert store.stat(key)


def test_whoever_comes_too_late_is_told_so(alice: User, organisation: Organisation, delete: Delete) -> None:
    store = blob_store()
    repo = create_repo(store, alice, organisation, "mine", repo_type="model", private=False)
    delete(Repo.objects.get(pk=repo.pk))
    verbs: list[Callable[[], object]] = [
        lambda: delete_repo(store, alice, repo),
        lambda: move_repo(store, alice, repo, organisation, "other"),
        lambda: change_settings(alice, repo, private=True),
        lambda: create_branch(alice, repo, "dev"),
    ]
    for verb in verbs:
        with pytest.raises(HubError) as caught, refusals():
            verb()
        assert (caught.value.status, caught.value.code) == (404, "RepoNotFound")
    with pytest.raises(RepoGone, match="acme/mine was deleted meanwhile"):
        make_commit(repo, [Change("a", put_small(store, "a", b"a"))], Letter.of(alice, "Add a"))
    assert list(store.list("commits/")) == []
