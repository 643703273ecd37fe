"""The embedded broker hands every message to one reader, and survives what a killed writer leaves."""

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection

import registry.celery  # noqa: F401  # makes filesystem:// ours
from registry.folder_broker import Channel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "messages").mkdir()
    return tmp_path


@pytest.fixture
def channel(folder: Path) -> Iterator[Channel]:
    with connect(folder) as connection:
        yield connection.default_channel


def connect(folder: Path) -> Connection:
    options = {
        "data_folder_in": str(folder / "messages"), "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
    }  # fmt: skip
    return Connection("filesystem://localhost", transport_options=options)


def drain(channel: Any, queue: str = "io") -> list[Any]:
    got = []
    while True:
        try:
            got.append(channel._get(queue))
        except Empty:
            return got


def test_messages_come_in_the_order_they_were_put_and_once(channel: Channel) -> None:
    for number in range(20):
        channel._put("io", {"number": number})
    channel._put("convert", {"other": "queue"})
    assert drain(channel) == [{"number": number} for number in range(20)]
    assert drain(channel) == []
    assert drain(channel, "convert") == [{"other": "queue"}]


@pytest.mark.parametrize("left", [b"", b"{", b"\xff\xfe", b'{"half": '])
def test_half_a_message_is_dropped_and_the_next_one_comes(
    channel: Channel, folder: Path, left: bytes
) -> None:
    (folder / "messages" / "1_x.io.msg").write_bytes(left)
    channel._put("io", {"whole": True})
    assert drain(channel) == [{"whole": True}]
    assert list((folder / "messages").iterdir()) == []


@pytest.mark.parametrize("left", [b"", b"[[", b"nonsense"])
def test_half_a_queue_table_is_made_anew(channel: Channel, folder: Path, left: bytes) -> None:
    (folder / "control").mkdir(exist_ok=True)
    (folder / "control" / "io.exchange").write_bytes(left)
    assert channel.get_table("io") == []
    channel._queue_bind("io", "io", "", "io")
    channel._queue_bind("io", "io", "", "io")
    assert [tuple(row) for row in channel.get_table("io")] == [("io", "", "io")]


def test_many_readers_share_the_messages_without_doubles(folder: Path) -> None:
    with connect(folder) as connection:
        for number in range(200):
            connection.default_channel._put("io", number)
    got: list[int] = []

    def read() -> None:
        with connect(folder) as connection:
            got.extend(drain(connection.default_channel))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(got) == list(range(200))
