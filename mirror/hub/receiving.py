"""The body of a request that is too large for memory: read in blocks, up to a limit, and dropped politely."""

from collections.abc import Iterator
from contextlib import suppress

from django.http import HttpRequest

from mirror.hub.errors import HubError, bad_request

BLOCK_BYTES = 1 << 20
DRAIN_BYTES = 256 << 20
"""Of a refused body that is read all the same: a client that still writes would see a broken pipe, and no reason."""
FULL = "this registry's disk is full: nothing was stored, and nothing is lost. Its operator has to make room."


class Body:
    """What is left of a body, with an end."""

    def __init__(self, request: HttpRequest, most_bytes: int = 0) -> None:
        self._request, self._most = request, most_bytes
        self._n_read = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end. Raises HubError when the client left, or sends too much."""
        try:
            data = self._request.read(size)
        except OSError as error:  # Django's UnreadablePostError: the client left
            raise bad_request(f"the body ended early ({error}). Send it again.") from None
        self._n_read += len(data)
        if self._most and self._n_read > self._most:
            raise HubError(413, f"a body here has at most {self._most} bytes.")
        return data

    def blocks(self, size_bytes: int) -> Iterator[bytes]:
        """Exactly that many bytes. Raises HubError when there are fewer."""
        left = size_bytes
        while left:
            data = self.read(min(left, BLOCK_BYTES))
            if not data:
                raise bad_request(
                    f"the body ended after {size_bytes - left} of {size_bytes} bytes. Send it again."
                )
            left -= len(data)
            yield data

    def drain(self) -> None:
        """What is left is read and dropped, up to a limit."""
        left = DRAIN_BYTES
        with suppress(OSError):
            while left > 0 and (data := self._request.read(min(left, BLOCK_BYTES))):
                left -= len(data)
