"""Every hostile file is refused with the code its fault has, quickly, and with a message fit to be shown."""

import resource
import time

import pytest

from conversion.formats import gguf, safetensors
from conversion.formats.errors import HeaderError
from conversion.formats.source import BytesSource
from tests.fixtures.hostile import gguf as hostile_gguf
from tests.fixtures.hostile import safetensors as hostile_safetensors
from tests.fixtures.hostile.__main__ import write_cases

READERS = {"safetensors": safetensors.read_header, "gguf": gguf.read_header}
CASES = [("safetensors", name) for name in hostile_safetensors.CASES] + [
    ("gguf", name) for name in hostile_gguf.CASES
]
MAX_SECONDS = 10
MAX_GROWTH_KIB = 400 * 1024


def hostile(kind: str, name: str) -> tuple[str, bytes]:
    cases = hostile_safetensors.CASES if kind == "safetensors" else hostile_gguf.CASES
    return cases[name]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_hostile_header_is_refused_with_its_code(kind: str, name: str) -> None:
    code, data = hostile(kind, name)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(HeaderError) as refused:
        READERS[kind](BytesSource(data))
    assert refused.value.code == code
    assert time.monotonic() - started < MAX_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_refusal_can_be_shown_to_anyone(kind: str, name: str) -> None:
    with pytest.raises(HeaderError) as refused:
        READERS[kind](BytesSource(hostile(kind, name)[1]))
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 500
    assert refused.value.retryable is False


def test_the_hostile_files_can_be_written_for_other_readers(tmp_path) -> None:
    assert write_cases(tmp_path) == len(CASES) == len(list(tmp_path.iterdir()))
