"""A proxy on loopback that asks for a name and password if told to, and remembers what it was asked for."""

import base64
import select
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Use as a context manager. `asked` are the first lines, `headers` all that came with them."""

    def __init__(self, login: str = "") -> None:
        self.asked: list[str] = []
        self.headers: list[bytes] = []
        self._expected = (
            f"basic {base64.b64encode(login.encode()).decode()}".lower().encode() if login else b""
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
                head += piece
            line, _, rest = head.partition(b"\r\n")
            method, target, _version = line.decode().split()
            self.asked.append(f"{method} {target}")
            self.headers.append(rest.lower())
            if self._expected not in rest.lower():
                client.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                self._join(client, target, b"")
            else:
                place, _, path = target.removeprefix("http://").partition("/")
                close = b"\r\nConnection: close\r\n" + rest.replace(b"Connection: keep-alive\r\n", b"")
                self._join(client, place, f"{method} /{path} HTTP/1.1".encode() + close)

    @staticmethod
    def _join(client: socket.socket, place: str, head: bytes) -> None:
        """Everything that either says reaches the other, until one has nothing more to say."""
        host, _, port = place.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            server.sendall(head)
            while True:
                for side in select.select([client, server], [], [])[0]:
                    try:
                        data = side.recv(65536)
                        (server if side is client else client).sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
