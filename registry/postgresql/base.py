"""The backend that settings name: all of Django's, but for the question asked before each request's first query."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A kept connection is checked by its socket, not by a query: a round trip less in every request."""

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
