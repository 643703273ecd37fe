"""Reaching anybody: the network, the machine itself, other processes by sockets."""

import socket


def connect_tcp(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 2) as connection:
        return f"connected to {connection.getpeername()}"


def send_udp(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return f"sent {one.sendto(b'secret', (host, int(port)))} bytes"


def resolve_name(name: str) -> str:
    return socket.gethostbyname(name)


def connect_unix(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        return f"connected to {path}"


def listen(address: str) -> str:
    with socket.create_server((address, 0)) as server:
        return f"listens at {server.getsockname()}"


def open_netlink(_: str) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW):
        return "a netlink socket"
