"""What passed becomes a true commit of the derived repo; turns are taken, and nobody's file is lost."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from django.db import connection
from django.db.models import F

from conversion.cases import case_of
from conversion.publish import publish
from conversion.verdicts import keep_report, record_verdict
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.git import lfs_pointer
from registry.models import Artifact, Commit, Event, Job, Lineage, Repo, Upstream, Validation
from registry.work import JobFailed, LeaseLost
from tests.checkpoints import ensure_repo, record_commit
from tests.conversion.artifacts import held_lease, passing_report, small_artifact

pytestmark = pytest.mark.django_db(transaction=True)


def source_commit(repo_id="acme/tiny", **facts) -> Commit:
    return record_commit(repo_id, {"config.json": f"{facts}".encode()}, **facts)


def put_out(artifact: Artifact, lease=None) -> Commit:
    """The commit that publishes the artifact, with a verdict that lets it."""
    report, case = passing_report(), case_of(artifact)
    kept = keep_report(blob_store(), report)
    commit, _ = publish(
        lease or held_lease(artifact), artifact, report,
        record=lambda: record_verdict(case, report, kept, passed=True),
    )  # fmt: skip
    return commit


def paths(commit: Commit) -> list[str]:
    return sorted(commit.files.values_list("path", flat=True))


def read(commit: Commit, path: str) -> bytes:
    return blob_store().read(blob_key(commit.files.get(path=path).blob.sha256))


def test_the_commit_holds_the_file_its_card_and_how_to_fetch_it():
    source = source_commit(
        license="apache-2.0", pipeline_tag="text-generation", card_data={"language": ["en"]}
    )
    commit = put_out(small_artifact(source, "Q8_0"))
    assert paths(commit) == [".gitattributes", "README.md", "tiny-Q8_0.gguf"]
    assert commit.files.get(path="tiny-Q8_0.gguf").is_lfs
    assert read(commit, ".gitattributes") == b"*.gguf filter=lfs diff=lfs merge=lfs -text\n"
    _, front, text = read(commit, "README.md").decode().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "acme/tiny", "base_model_relation": "quantized", "library_name": "gguf", "tags": ["gguf"],
        "license": "apache-2.0", "pipeline_tag": "text-generation", "language": ["en"],
    }  # fmt: skip
    assert source.commit_hash in text
    assert "| tiny-Q8_0.gguf | Q8_0 |" in text
    assert "| verified | 9.1e-05 | 99.2% |" in text
    assert "holdfast pull acme/tiny:Q8_0" in text


def git(folder: Path, *arguments: str, when: str = "", text: str = "") -> str:
    """What git says, with Holdfast as author and LFS pointers taken as they are."""
    people = [("NAME", "Holdfast"), ("EMAIL", "holdfast@localhost"), ("DATE", when)]
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in people}
    plain = ["-c", "filter.lfs.clean=cat", "-c", "filter.lfs.required=false"]
    done = subprocess.run(
        ["git", "-C", folder, *plain, *arguments], input=text, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **who},
    )  # fmt: skip
    return done.stdout.strip()


def test_git_itself_computes_the_same_commit_id(tmp_path):
    clone, source = tmp_path / "clone", source_commit()
    clone.mkdir()
    git(clone, "init", "-q", "-b", "main")
    for name in ("Q8_0", "Q4_0"):
        commit = put_out(small_artifact(source, name))
        for file in commit.files.select_related("blob"):
            data = read(commit, file.path)
            pointer = lfs_pointer(file.blob.sha256, len(data))
            (clone / file.path).write_bytes(pointer if file.is_lfs else data)
        git(clone, "add", "-A")
        when = commit.committed_at.strftime("%Y-%m-%dT%H:%M:%S+0000")
        git(clone, "commit", "-q", "-F", "-", when=when, text=commit.message)
        assert git(clone, "ls-tree", "-r", "HEAD").split() == [
            part
            for file in commit.files.order_by("path")
            for part in ("100644", "blob", file.git_oid, file.path)
        ]
        assert git(clone, "rev-parse", "HEAD") == commit.commit_hash


def test_the_licence_is_that_of_the_parents_card_even_before_inspection():
    card = b"---\nlicense: cc0-1.0\nlicense_link: LICENSE\nlanguage:\n- en\n---\n# Tiny\n"
    source = record_commit("acme/tiny", {"README.md": card, "config.json": b"{}"})
    assert (source.license, source.inspected_at) == ("", None)
    commit = put_out(small_artifact(source, "Q8_0"))
    front = yaml.safe_load(read(commit, "README.md").decode().split("---\n")[1])
    assert (front["license"], front["license_link"], front["language"]) == ("cc0-1.0", "LICENSE", ["en"])
    assert json.loads(blob_store().read(commit.manifest_key))["license"] == "cc0-1.0"


def test_the_next_artifact_joins_those_that_are_out():
    source = source_commit()
    first = put_out(small_artifact(source, "Q8_0"))
    second = put_out(small_artifact(source, "F16"))
    assert [path for path in paths(second) if path.endswith("gguf")] == ["tiny-F16.gguf", "tiny-Q8_0.gguf"]
    assert second.parents == [first.commit_hash]
    relations = Lineage.objects.filter(child=second.repo).values_list("relation", "parent_commit")
    assert sorted(relations) == [("conversion", source.pk), ("quantized", source.pk)]
    assert read(second, "README.md").decode().count("| verified |") == 2


def test_artifacts_published_at_the_same_moment_are_all_there():
    source = source_commit()
    artifacts = [small_artifact(source, name) for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0")]
    leases = [held_lease(artifact) for artifact in artifacts]

    def one(pair):
        try:
            return put_out(*pair)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(artifacts)) as pool:
        commits = list(pool.map(one, zip(artifacts, leases, strict=True)))
    repo = Repo.objects.get(repo_id="acme/tiny-GGUF")
    assert len([path for path in paths(repo.head) if path.endswith(".gguf")]) == 5
    history, at = [], repo.head
    while at:
        history.append(at.commit_hash)
        at = Commit.objects.filter(repo=repo, commit_hash__in=at.parents).first()
    assert sorted(history) == sorted(commit.commit_hash for commit in commits)
    assert Validation.objects.filter(passed=True).count() == 5


def test_the_manifest_in_the_bucket_lists_what_the_rows_say():
    source = source_commit(license="mit")
    commit = put_out(small_artifact(source, "Q8_0"))
    manifest = json.loads(blob_store().read(commit.manifest_key))
    rows = commit.files.select_related("blob").order_by("path")
    assert [(f["path"], f["sha256"], f["git_oid"]) for f in manifest["files"]] == [
        (row.path, row.blob.sha256, row.git_oid) for row in rows
    ]
    (edge,) = manifest["lineage"]
    assert (edge["relation"], edge["repo_id"], edge["commit_hash"]) == (
        "quantized",
        "acme/tiny",
        source.commit_hash,
    )
    assert manifest["license"] == "mit"


def test_the_new_commit_is_to_be_inspected():
    commit = put_out(small_artifact(source_commit(), "Q8_0"))
    assert Job.objects.get(kind="inspect").params == {"commit": commit.pk}


def test_a_newer_parent_starts_a_new_set_of_files():
    old = source_commit()
    put_out(small_artifact(old, "Q8_0"))
    new = source_commit(license="mit")
    assert old != new
    commit = put_out(small_artifact(new, "F16"))
    assert paths(commit) == [".gitattributes", "README.md", "tiny-F16.gguf"]
    assert Lineage.objects.get(child=commit.repo, relation="conversion").parent_commit == new


def test_an_artifact_of_an_older_parent_moves_nothing():
    old, new = source_commit(), source_commit(license="mit")
    head = put_out(small_artifact(new, "Q8_0"))
    late = put_out(small_artifact(old, "Q8_0"))
    later = put_out(small_artifact(old, "F16"))
    repo = Repo.objects.get(repo_id="acme/tiny-GGUF")
    assert repo.head == head
    assert repo.refs.get().commit == head
    assert (late.parents, later.parents) == ([], [late.commit_hash])
    assert len(paths(later)) == 4
    assert Lineage.objects.get(child=repo).parent_commit == new


def test_a_worker_that_lost_its_lease_publishes_nothing():
    artifact = small_artifact(source_commit(), "Q8_0")
    lease = held_lease(artifact)
    Job.objects.filter(pk=lease.job.pk).update(fence=F("fence") + 1)
    with pytest.raises(LeaseLost):
        put_out(artifact, lease)
    artifact.refresh_from_db()
    assert artifact.state == "unvalidated"
    assert not Commit.objects.filter(repo__repo_id="acme/tiny-GGUF").exists()
    assert not Validation.objects.exists()
    assert not Event.objects.filter(artifact=artifact).exists()


def test_conversions_of_a_closed_repo_are_closed(organisation):
    source = source_commit("acme/secret", private=True, gated="manual", organisation=organisation)
    repo = put_out(small_artifact(source, "Q8_0")).repo
    assert (repo.private, repo.gated, repo.organisation) == (True, "manual", organisation)


def test_a_name_that_is_mirrored_from_elsewhere_is_not_written_to():
    upstream = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example.org")
    ensure_repo("acme/tiny-GGUF", upstream=upstream, upstream_repo_id="acme/tiny-GGUF")
    with pytest.raises(JobFailed, match="acme/tiny-GGUF is mirrored from") as failure:
        put_out(small_artifact(source_commit(), "Q8_0"))
    assert failure.value.code == "repo-taken"


def test_a_name_that_would_be_too_long_is_refused():
    source = source_commit("acme/" + "a" * 93)
    with pytest.raises(JobFailed, match="too long"):
        put_out(small_artifact(source, "Q8_0"))
