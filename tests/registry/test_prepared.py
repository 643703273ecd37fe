"""SQL that is made once gives what the queryset gives, whatever values it is asked with, in every thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registry import git
from registry.models import File
from registry.prepared import Prepared
from tests.checkpoints import record_commit


def _at() -> Prepared[File]:
    return Prepared(
        lambda commit, path: File.objects.filter(commit=commit, path=path).select_related("blob", "commit"),
        commit=int, path=str,
    )  # fmt: skip


@pytest.mark.django_db
def test_each_call_has_the_rows_of_its_own_values() -> None:
    one, two = record_commit("acme/one", {"a": b"1", "b": b"2"}), record_commit("acme/two", {"a": b"3"})
    find = _at()
    for commit, path, body in [(one, "a", b"1"), (one, "b", b"2"), (two, "a", b"3")]:
        with CaptureQueriesContext(connection) as asked:
            (file,) = find(commit=commit.pk, path=path)
            found = (file.commit, file.path, file.held.git_oid)  # rows that come along are no further query
        assert found == (commit, path, git.git_blob_oid(body))
        assert len(asked) == 1
    assert find(commit=two.pk, path="b") == []


@pytest.mark.django_db
def test_a_value_is_never_read_as_sql() -> None:
    commit = record_commit("acme/one", {"a' OR '1'='1": b"1", "100%s": b"2"})
    find = _at()
    assert [file.path for file in find(commit=commit.pk, path="a' OR '1'='1")] == ["a' OR '1'='1"]
    assert [file.path for file in find(commit=commit.pk, path="100%s")] == ["100%s"]
    assert find(commit=commit.pk, path="b' OR '1'='1") == []


@pytest.mark.django_db
def test_values_may_be_asked_for_in_place_of_rows() -> None:
    commit = record_commit("acme/one", {"b": b"1", "a": b"2"})
    files = lambda commit: File.objects.filter(commit=commit).order_by("path")  # noqa: E731  # a build for three
    assert Prepared(lambda commit: files(commit).values_list("path", flat=True), commit=int)(
        commit=commit.pk
    ) == ["a", "b"]
    sizes = Prepared(lambda commit: files(commit).values_list("path", "size_bytes"), commit=int)
    assert sizes(commit=commit.pk) == [("a", 1), ("b", 1)]


@pytest.mark.django_db(transaction=True)
def test_threads_ask_over_connections_of_their_own() -> None:
    commit = record_commit("acme/one", {f"{number}": b"%d" % number for number in range(8)})
    find = _at()

    def ask(number: int) -> str:
        try:
            return find(commit=commit.pk, path=str(number))[0].path
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == [str(number) for number in range(8)]
