"""Upstream's own object of a commit is kept only when it is that of these files under this hash."""

from pathlib import Path

import pytest

from mirror.git.commits import with_object
from mirror.upstream.base import RemoteCommit, UpstreamUnavailable
from mirror.upstream.directory import Directory
from registry import git
from tests.checkpoints import FIRST_DAY

pytestmark = pytest.mark.one_backend

AUTHOR = git.Signature("Ada", "ada@example.org", FIRST_DAY)
OIDS = {"a.txt": git.git_blob_oid(b"a")}
TRUE = git.commit_object(git.tree_oid(OIDS), parents=["ab" * 20], author=AUTHOR, message="First")


class Upstream(Directory):
    """A folder whose commit object is what the test says."""

    given: bytes | Exception | None = TRUE

    def commit_object(self, repo_id: str, commit_hash: str) -> bytes | None:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    (tmp_path / "a.txt").write_bytes(b"a")
    return Upstream(str(tmp_path))


def taken(upstream: Upstream, commit_hash: str = git.commit_object_oid(TRUE)) -> RemoteCommit:
    folder = Directory.resolve(upstream, "org/name", "main")
    files = upstream.list_files("org/name", folder.commit_hash)
    return with_object(upstream, RemoteCommit("org/name", commit_hash), files)


def test_a_true_object_is_kept_with_the_parents_in_it(upstream: Upstream) -> None:
    commit = taken(upstream)
    assert commit.git_object == TRUE
    assert commit.parents == ("ab" * 20,)


@pytest.mark.parametrize(
    "given",
    [None, b"", b"noise", TRUE + b"!", UpstreamUnavailable("hub.example:443", "org/name", "no answer")],
    ids=["none", "empty", "noise", "changed", "no answer"],
)
def test_anything_else_leaves_the_commit_as_it_was(
    upstream: Upstream, given: bytes | Exception | None
) -> None:
    upstream.given = given
    assert taken(upstream).git_object is None
    assert taken(upstream).parents == ()


def test_an_object_of_other_files_is_not_kept(upstream: Upstream) -> None:
    """As it is when a file may be executed, which a listing does not tell."""
    upstream.given = git.commit_object(git.tree_oid({}), author=AUTHOR, message="First")
    assert taken(upstream, git.commit_object_oid(upstream.given)).git_object is None
