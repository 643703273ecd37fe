"""What is fetched, and which listings are refused."""

import hashlib
from typing import Any

import pytest

from mirror.blobs.store import BlobStore, blob_key
from mirror.plan import check_listing, make_plan, what_is_wrong
from mirror.store import blob_store
from mirror.upstream.base import BadListing, RemoteCommit, RemoteFile
from registry.git import git_blob_oid, lfs_pointer_oid
from registry.models import Blob, Commit, File, Repo, Upstream

COMMIT = RemoteCommit("org/model", "ab" * 20)


def regular(path: str, data: bytes = b"text") -> RemoteFile:
    return RemoteFile(path, len(data), git_blob_oid(data))


def lfs(path: str, data: bytes = b"weights") -> RemoteFile:
    sha256 = hashlib.sha256(data).hexdigest()
    return RemoteFile(path, len(data), lfs_pointer_oid(sha256, len(data)), sha256)


def keep(store: BlobStore, data: bytes, *, row: bool = True, **facts: object) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    store.put(blob_key(sha256), data)
    if row:
        facts = {"git_oid": git_blob_oid(data), **facts}
        Blob.objects.create(sha256=sha256, size_bytes=len(data), store=store.name, **facts)
    return sha256


# --- what to fetch ----------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestPlan:
    def test_everything_is_needed_when_nothing_is_held_the_largest_first(self) -> None:
        plan = make_plan(blob_store(), [regular("a", b"1"), lfs("w", b"12345"), regular("b", b"123")])
        assert [file.path for file in plan.needed] == ["w", "b", "a"]
        assert (plan.bytes_total, plan.bytes_needed) == (9, 9)

    def test_what_another_repo_brought_is_not_fetched_again(self) -> None:
        store = blob_store()
        keep(store, b"weights")
        keep(store, b"text")
        plan = make_plan(store, [regular("README.md"), lfs("w"), regular("new", b"new")])
        assert [file.path for file in plan.needed] == ["new"]
        assert plan.held[lfs("w").digest] == hashlib.sha256(b"weights").hexdigest()
        assert plan.held[regular("README.md").digest] == hashlib.sha256(b"text").hexdigest()

    def test_an_lfs_object_that_is_in_the_store_without_a_row_is_held(self) -> None:
        """A killed worker promotes bytes and dies before the rows: the next one must not fetch them again."""
        keep(blob_store(), b"weights", row=False)
        assert make_plan(blob_store(), [lfs("w")]).needed == []

    @pytest.mark.parametrize("guard", [{"private": True}, {"gated": "auto"}])
    def test_the_digest_of_a_private_blob_does_not_give_its_bytes(self, guard: dict[str, Any]) -> None:
        """Promise: naming a sha256 in a listing gets nobody bytes that are held for somebody else."""
        upstream = Upstream.objects.create(kind="huggingface", endpoint="https://owner.example")
        repo = Repo.objects.create(repo_id="a/b", namespace="a", name="b", upstream=upstream, **guard)
        commit = Commit.objects.create(repo=repo, commit_hash="ab" * 20)
        blob = Blob.objects.get(sha256=keep(blob_store(), b"weights"))
        File.objects.create(
            commit=commit,
            path="w",
            blob=blob,
            size_bytes=7,
            git_oid="cd" * 20,
            is_lfs=True,
            lfs_sha256=blob.sha256,
        )
        assert len(make_plan(blob_store(), [lfs("w")], endpoint="https://stranger.example").needed) == 1
        assert make_plan(blob_store(), [lfs("w")], endpoint="https://owner.example").needed == []
        Repo.objects.update(private=False, gated="")
        assert make_plan(blob_store(), [lfs("w")], endpoint="https://stranger.example").needed == []

    def test_what_an_earlier_slice_fetched_is_held(self) -> None:
        sha256 = keep(blob_store(), b"text", row=False)
        assert (
            make_plan(blob_store(), [regular("README.md")], done={git_blob_oid(b"text"): sha256}).needed == []
        )

    def test_a_row_whose_bytes_are_gone_is_fetched_again(self) -> None:
        sha256 = keep(blob_store(), b"weights")
        blob_store().delete(blob_key(sha256))
        assert len(make_plan(blob_store(), [lfs("w")]).needed) == 1

    def test_a_damaged_blob_does_not_count_as_held(self) -> None:
        keep(blob_store(), b"weights", state=Blob.State.DAMAGED)
        assert len(make_plan(blob_store(), [lfs("w")]).needed) == 1

    def test_the_same_bytes_under_two_paths_are_fetched_once(self) -> None:
        plan = make_plan(blob_store(), [lfs("a"), lfs("deep/b"), regular("c"), regular("d")])
        assert len(plan.needed) == 2
        assert len(plan.files) == 4

    def test_the_number_of_queries_does_not_grow_with_the_number_of_files(
        self, django_assert_num_queries: object
    ) -> None:
        for n_files in (3, 300):
            files = [regular(f"{n}", str(n).encode()) for n in range(n_files)]
            with django_assert_num_queries(1):  # type: ignore[operator]
                make_plan(blob_store(), files)


# --- which lists are refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "a/./b", "a//b", "a/", ".git/config", "a/.GIT/hooks",
        "a\\b", "..\\x", "a\nb", "a\x00b", "\x1b[31m", "a\x7f", "a\x85b", "x" * 1025, "a/" + "x" * 256, "bad\ud800",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_by_name(path: str) -> None:
    with pytest.raises(BadListing) as refusal:
        check_listing(COMMIT, [regular("ok"), regular(path)])
    assert refusal.value.path == path
    assert "org/model@abababab" in str(refusal.value)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        ".gitattributes",
        ".github/x",
        "a b/ü.txt",
        "a..b",
        "...",
        "x:y",
        "git",
        "a" * 255,
        "1/2/3/4",
    ],
)
def test_an_ordinary_path_is_accepted(path: str) -> None:
    assert what_is_wrong(regular(path)) == ""


def test_paths_that_differ_only_in_case_are_two_files() -> None:
    check_listing(COMMIT, [regular("README.md", b"1"), regular("readme.md", b"2")])


def test_a_path_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(BadListing, match="twice"):
        check_listing(COMMIT, [regular("a", b"1"), regular("a", b"2")])


def test_a_path_that_is_file_and_folder_is_refused() -> None:
    with pytest.raises(BadListing, match="a file and a folder"):
        check_listing(COMMIT, [regular("a/b/c"), regular("a/b", b"x")])


def test_one_digest_with_two_sizes_is_refused() -> None:
    twice = RemoteFile("b", 99, regular("a").git_oid)
    with pytest.raises(BadListing, match="another size"):
        check_listing(COMMIT, [regular("a"), twice])


def test_a_file_without_any_digest_is_refused() -> None:
    with pytest.raises(BadListing, match="neither"):
        check_listing(COMMIT, [RemoteFile("a", 1, None)])
