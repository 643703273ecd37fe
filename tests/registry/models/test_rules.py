"""The rules that live in the database: whatever Python does, these rows cannot exist."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, models, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from registry.models import (
    AccessToken,
    Blob,
    Commit,
    Event,
    File,
    Gate,
    Header,
    Job,
    Lineage,
    Organisation,
    Override,
    Reading,
    Ref,
    Repo,
    Tensor,
    Upstream,
    Validation,
    Yardstick,
)
from registry.models.event import AppendOnly

pytestmark = pytest.mark.django_db

SHA = "ab" * 32
OID = "cd" * 20


def make_repo(name: str = "model", **options: Any) -> Repo:
    options = {"repo_id": f"org/{name}", "namespace": "org", "name": name} | options
    return Repo.objects.create(**options)


def make_commit(repo: Repo, commit_hash: str = OID) -> Commit:
    return Commit.objects.create(repo=repo, commit_hash=commit_hash)


def refused(model: type[models.Model], **values: Any) -> None:
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():  # PostgreSQL measures first
        model._default_manager.create(**values)


@pytest.mark.parametrize("sha256", ["", "AB" * 32, "zz" * 32, "ab" * 31, "../../etc/passwd"])
def test_a_blob_is_named_by_64_lower_hex_digits(sha256: str) -> None:
    refused(Blob, sha256=sha256, size_bytes=1, store="directory")


def test_a_blob_has_no_negative_size_and_a_known_state() -> None:
    refused(Blob, sha256=SHA, size_bytes=-1, store="directory")
    refused(Blob, sha256=SHA, size_bytes=1, store="directory", state="fine")


def test_a_blob_exists_once() -> None:
    Blob.objects.create(sha256=SHA, size_bytes=1, store="directory")
    refused(Blob, sha256=SHA, size_bytes=1, store="directory")


def test_a_repo_id_is_unique_whatever_its_case() -> None:
    make_repo("Model")
    refused(Repo, repo_id="ORG/model", namespace="ORG", name="model")


def test_a_dataset_may_share_the_name_of_a_model() -> None:
    make_repo("same")
    make_repo("same", repo_type="dataset")


def test_a_repo_id_is_its_namespace_and_name() -> None:
    refused(Repo, repo_id="org/other", namespace="org", name="model")


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "-dash", "x" * 97, "naïve"])
def test_a_repo_name_is_what_the_hub_allows(name: str) -> None:
    refused(Repo, repo_id=f"org/{name}", namespace="org", name=name)


def test_a_ref_names_one_commit_and_keeps_it() -> None:
    repo = make_repo()
    commit = make_commit(repo)
    Ref.objects.create(repo=repo, kind="branch", name="main", commit=commit)
    refused(Ref, repo=repo, kind="branch", name="main", commit=commit)
    refused(Ref, repo=repo, kind="note", name="x", commit=commit)
    with pytest.raises(ProtectedError):
        commit.delete()


def test_a_commit_hash_is_40_lower_hex_digits_and_unique_in_its_repo() -> None:
    repo = make_repo()
    make_commit(repo)
    refused(Commit, repo=repo, commit_hash=OID)
    refused(Commit, repo=repo, commit_hash=SHA)
    make_commit(make_repo("fork"))


def test_a_file_keeps_its_blob_and_has_a_path_once() -> None:
    commit = make_commit(make_repo())
    blob = Blob.objects.create(sha256=SHA, size_bytes=3, store="directory")
    values = {"commit": commit, "path": "a.txt", "blob": blob, "size_bytes": 3, "git_oid": OID}
    File.objects.create(**values)
    refused(File, **values)
    refused(File, **values | {"path": ""})
    with pytest.raises(ProtectedError):
        blob.delete()


def test_the_etag_of_an_lfs_object_is_its_sha256_otherwise_its_git_oid() -> None:
    blob = Blob(sha256=SHA, size_bytes=3)
    assert File(blob=blob, git_oid=OID, is_lfs=True, lfs_sha256=SHA).etag == SHA
    assert File(blob=blob, git_oid=OID, is_lfs=False).etag == OID


def test_a_tensor_is_named_once_in_its_blob() -> None:
    blob = Blob.objects.create(sha256=SHA, size_bytes=3, store="directory")
    Header.objects.create(blob=blob, format="gguf")
    values = {"blob": blob, "position": 0, "name": "w", "dtype": "F32", "shape": [1], "start": 0, "length": 4}
    Tensor.objects.create(**values)
    refused(Tensor, **values)
    refused(Tensor, **values | {"name": "v", "start": -1})


def test_an_edge_of_lineage_is_recorded_once() -> None:
    values = {"child": make_repo(), "parent_repo_id": "a/b", "relation": "finetune", "evidence": "declared"}
    Lineage.objects.create(**values)
    refused(Lineage, **values)
    refused(Lineage, **values | {"relation": "cousin"})


def test_unfinished_work_exists_once_and_finished_work_any_number_of_times() -> None:
    values = {"kind": "mirror", "key": "hf://a/b", "label": "mirror a/b"}
    Job.objects.create(**values)
    refused(Job, **values)
    for _ in range(2):
        Job.objects.create(**values, state="succeeded", finished_at=timezone.now())


def test_a_job_is_never_in_a_half_state() -> None:
    values = {"kind": "mirror", "key": "k", "label": "l"}
    refused(Job, **values, state="succeeded")
    refused(Job, **values, state="running")
    refused(Job, **values, state="failed", finished_at=timezone.now())
    refused(Job, **values | {"kind": "dance"})


def test_a_verdict_is_on_a_file_with_a_name_and_verified_against_something() -> None:
    commit = make_commit(make_repo())
    blob = Blob.objects.create(sha256=SHA, size_bytes=3, store="directory")
    values = {
        "blob": blob,
        "path": "a.gguf",
        "verdict": "loads",
        "passed": True,
        "report": {},
        "engine": "test",
    }
    Validation.objects.create(**values)
    for wrong in ({"path": ""}, {"verdict": "fine"}, {"verdict": "verified"}, {"mean_kld": -1.0},
                  {"top1_agreement": 1.5}, {"perplexity_ratio": -1.0}):  # fmt: skip
        refused(Validation, **values | wrong)
    Validation.objects.create(**values | {"verdict": "verified", "parent": commit, "report_blob": blob})
    with pytest.raises(ProtectedError):
        commit.delete()


def test_a_blob_is_overridden_once_with_a_reason_and_a_name() -> None:
    blob = Blob.objects.create(sha256=SHA, size_bytes=3, store="directory")
    values = {"blob": blob, "verdict": "damaged", "reason": "nonsense", "by": "alice"}
    Override.objects.create(**values)
    refused(Override, **values)
    Override.objects.update(withdrawn_at=timezone.now())
    Override.objects.create(**values)
    for wrong in ({"reason": ""}, {"by": ""}, {"verdict": "fine"}):
        refused(Override, **values | wrong | {"withdrawn_at": timezone.now()})


def test_a_gate_lets_through_known_verdicts_and_never_damaged_bytes() -> None:
    Gate.objects.create(repos="acme/*", publish="verified,loads", pull="")
    refused(Gate, repos="ACME/*", publish="verified", pull="verified")
    for wrong in ({"repos": ""}, {"publish": "damaged"}, {"pull": "verified,"}, {"pull": "verified loads"}):
        refused(Gate, **{"repos": "x/*", "publish": "verified", "pull": "verified"} | wrong)


def test_readings_and_yardsticks_are_measured_once() -> None:
    commit = make_commit(make_repo())
    blob = Blob.objects.create(sha256=SHA, size_bytes=3, store="directory")
    Reading.objects.create(key=SHA, parent=commit, blob=blob)
    refused(Reading, key=SHA, parent=commit, blob=blob)
    refused(Reading, key=OID, parent=commit, blob=blob)
    with pytest.raises(ProtectedError):
        blob.delete()
    assert list(Blob.objects.needed()) == [blob]
    values = {"key": SHA, "parent": commit, "file_type": "Q8_0", "converter": "c", "engine": "e", "limits_version": 2,
              "mean_kld": 0.1, "kld_error": 0.0, "figures": {}}  # fmt: skip
    Yardstick.objects.create(**values)
    refused(Yardstick, **values)
    for wrong in ({"key": OID}, {"mean_kld": -1.0}, {"kld_error": -1.0}, {"file_type": ""}):
        refused(Yardstick, **values | {"key": "ef" * 32} | wrong)


def test_an_event_is_never_changed_or_deleted() -> None:
    event = Event.objects.create(type="ingestion", agent="test", summary="org/model arrived")
    event.summary = "nothing happened"
    with pytest.raises(AppendOnly):
        event.save()
    with pytest.raises(AppendOnly):
        event.delete()
    refused(Event, type="party", agent="test", summary="")


def test_names_of_organisations_and_upstreams_are_unique() -> None:
    Organisation.objects.create(name="Acme")
    refused(Organisation, name="acme")
    Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    refused(Upstream, kind="huggingface", endpoint="https://hub.example")


def test_a_token_is_found_by_its_secret_which_is_not_stored(alice: Any) -> None:
    token, secret = AccessToken.issue(alice, name="laptop")
    assert AccessToken.objects.find(secret) == token
    assert AccessToken.objects.find(secret[:-1]) is None
    stored = AccessToken.objects.values().get()
    assert secret not in map(str, stored.values())


def test_a_token_has_the_form_that_llama_cpp_sends(alice: Any) -> None:
    _, secret = AccessToken.issue(alice, name="laptop")
    assert secret.startswith("hf_")
    assert secret[3:].isalnum()
    assert len(secret) >= 37


def test_an_expired_token_and_one_of_a_blocked_user_are_refused(alice: Any) -> None:
    token, secret = AccessToken.issue(alice, name="old")
    AccessToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert AccessToken.objects.find(secret) is None
    _, secret = AccessToken.issue(alice, name="new")
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)
    assert AccessToken.objects.find(secret) is None
