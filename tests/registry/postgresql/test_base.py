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
