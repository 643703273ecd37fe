"""Breaking the conversation itself; these do not return."""

import os
import signal
import struct
import sys
import time


def _answers() -> int:
    return int(sys.argv[2])


def _say(data: bytes, claimed: int | None = None) -> None:
    view = memoryview(struct.pack("<I", len(data) if claimed is None else claimed) + data)
    while view:
        view = view[os.write(_answers(), view) :]


def answer_gigabytes(_: str) -> None:
    _say(b"[" * 2**16, claimed=2**31)
    time.sleep(60)


def answer_deep(_: str) -> None:
    _say(b"[" * 2**20)


def answer_nonsense(_: str) -> None:
    _say(b'{"got": NaN}')


def answer_something_else(_: str) -> None:
    _say(b'{"yes": 1}')


def answer_half(_: str) -> None:
    _say(b'{"got": ', claimed=100)
    time.sleep(60)


def answer_in_drops(_: str) -> None:
    os.write(_answers(), struct.pack("<I", 2**20))
    while True:
        os.write(_answers(), b" ")
        time.sleep(0.001)


def hang_up(_: str) -> None:
    for number in map(int, sys.argv[1:3]):
        os.close(number)
    time.sleep(60)


def stop_listening(_: str) -> None:
    _say(b'{"got": ""}')
    time.sleep(60)


def leave(_: str) -> None:
    os._exit(0)


def abort(_: str) -> None:
    os.abort()


def compute_forever(_: str) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    while True:
        pass


def sleep_forever(_: str) -> None:
    time.sleep(3600)
