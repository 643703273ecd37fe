"""A kept connection is known to be alive, or not, without a question to the server."""

from typing import Any

import pytest
from django.db import connection, connections

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL only")


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_lives_is_used_without_a_query(django_assert_num_queries: Any) -> None:
    connection.ensure_connection()
    with django_assert_num_queries(0):
        assert connection.is_usable()


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_ended_is_not_used() -> None:
    connection.ensure_connection()
    number = connection.connection.info.backend_pid
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [number])
        assert cursor.fetchone() == (True,)
    other.close()
    assert not connection.is_usable()
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_what_is_asked_again_is_planned_once() -> None:
    for number in range(3):
        with connection.prepared_cursor() as cursor:
            cursor.execute("SELECT %s::int + 1", [number])
            assert cursor.fetchone() == (number + 1,)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT %%::int + 1'"
        )
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_a_pooler_that_knows_no_prepared_statements_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    monkeypatch.setattr(
        connection.connection, "prepare_threshold", None
    )  # as with HOLDFAST_PREPARED_STATEMENTS=no
    with connection.prepared_cursor() as cursor:
        cursor.execute("SELECT %s::int + 2", [1])
        assert cursor.fetchone() == (3,)
        cursor.execute(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT %%::int + 2'"
        )
        assert cursor.fetchone() == (0,)
