"""The sockets: how many at once, how long they may be silent, and by which names we answer."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit

from holdfast.errors import UsageError
from holdfast.serving.images import ROUTES as IMAGES
from holdfast.serving.shelf import Shelf
from holdfast.serving.verified import Verified
from holdfast.serving.views import ROUTES, find_view
from holdfast.serving.wire import Question, Reply, Requests
from holdfast.text import printable

MAX_CONNECTIONS = 256
ANYWHERE = "0.0.0.0"  # noqa: S104 - only when --lan or --host asks for it
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class LanServer(ThreadingHTTPServer):
    """Answers with the cache until `shutdown`. An interrupt waits for nobody: what is under way can be asked again."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        shelf: Shelf,
        *,
        names: Iterable[str],
        on_sent: Callable[[str], None],
        on_damage: Callable[[str], None],
    ) -> None:
        self.shelf = shelf
        self.verified = Verified(on_damage)
        self.n_requests = 0
        self.sent_bytes = 0
        self._on_sent = on_sent
        self._names = {name.casefold() for name in (*names, "localhost", *_own_names())}
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._counting = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, type("Handler", (Requests,), {"mirror": self}))
        except (OSError, OverflowError) as error:
            raise _cannot_listen(address, error) from error

    # --- what the requests ask -------------------------------------------------------------------------

    def answers_to(self, host: str) -> bool:
        """Any address of ours, and the names we know. A page on another site that calls itself us is refused."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.casefold() in self._names or not host:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def answer(self, question: Question) -> Reply:
        """By the first view that knows the path."""
        view, parts = find_view(question.path, IMAGES if question.path.startswith("/v2") else ROUTES)
        return view(question, self.shelf, self.verified, **parts)

    def sent(self, line: str, n_bytes: int) -> None:
        """Counts the answer."""
        with self._counting:
            self.n_requests += 1
            self.sent_bytes += n_bytes
        self._on_sent(line)

    # --- what the standard library asks ----------------------------------------------------------------

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection if there is one left, else 503 at once."""
        if not self._slots.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(_BUSY)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Gives the slot back, however the connection ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or a request we did not foresee: the connection is closed, the server lives."""
        self._on_sent(f"{client_address[0]} the connection broke off")

    def server_bind(self) -> None:
        """Without the reverse look-up of http.server, which can hang where there is no DNS."""
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError, AttributeError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


def open_server(
    cache_dir: Path,
    host: str,
    port: int,
    *,
    only: Iterable[str] = (),
    names: Iterable[str] = (),
    on_sent: Callable[[str], None],
    on_damage: Callable[[str], None],
) -> LanServer:
    """A server that listens, and answers once `serve_forever` runs. Port 0 takes any that is free."""
    shelf = Shelf(cache_dir, only)
    return LanServer((host, port), shelf, names=(host, *names), on_sent=on_sent, on_damage=on_damage)


def urls_of(host: str, port: int) -> list[str]:
    """By which addresses the server is reached: the one it was bound to, or those of this machine."""
    hosts = [host] if host not in (ANYWHERE, "::", "") else _lan_addresses()
    return [f"http://[{one}]:{port}" if ":" in one else f"http://{one}:{port}" for one in hosts]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _lan_addresses() -> list[str]:
    """The address that this machine uses towards others. Nothing is sent: connecting a datagram socket only looks."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return [str(probe.getsockname()[0])]
    return ["127.0.0.1"]


def _own_names() -> list[str]:
    name = socket.gethostname()
    return [name, name.partition(".")[0], f"{name.partition('.')[0]}.local"]


def _cannot_listen(address: tuple[str, int], error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error)
    return UsageError(
        f"cannot listen on {printable(address[0])}:{address[1]}: {printable(reason)}",
        hint="Choose another --port (0: any that is free), or an address of this machine for --host.",
        host=address[0],
        port=address[1],
    )
