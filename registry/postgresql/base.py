"""The backend that settings name: all of Django's, but for the question asked before each request's first query.

And with cursors for what is asked again and again (`registry/prepared.py`).
"""

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base


class PreparedCursor(psycopg.Cursor[Any]):
    """The server keeps the plan of each statement for the life of the connection, and binds the values itself."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> "PreparedCursor":
        super().execute(query, params, prepare=True, **options)
        return self


class DatabaseWrapper(base.DatabaseWrapper):
    """A kept connection is checked by its socket, not by a query: a round trip less in every request."""

    def prepared_cursor(self) -> Any:
        """A cursor for statements of which each is asked often, with other values.

        Nothing is kept where HOLDFAST_PREPARED_STATEMENTS is off.
        """
        self.close_if_health_check_failed()
        self.ensure_connection()
        with self.wrap_database_errors:
            cursor: Any = PreparedCursor(self.connection)
            return self._prepare_cursor(cursor)  # type: ignore[attr-defined]  # the stubs have only what is public

    def is_usable(self) -> bool:
        """Whether the server still holds the connection.

        Between queries a server is silent; one that has gone, or that has ended this connection, has left its last
        words or an end of file to read. A host that vanished without a word is found by TCP's keepalive, as in the
        middle of a query. Never waits.
        """
        connection = self.connection
        if connection is None or connection.closed:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return not poll.poll(0)
