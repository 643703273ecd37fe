"""Every hostile file is refused with the code its fault has, quickly, and with a message fit to be shown."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.formats import gguf, safetensors
from conversion.formats.errors import HeaderError
from conversion.formats.pytorch import open_pytorch
from conversion.formats.source import ByteSource, BytesSource
from tests.fixtures.hostile import gguf as hostile_gguf
from tests.fixtures.hostile import pytorch as hostile_pytorch
from tests.fixtures.hostile import safetensors as hostile_safetensors
from tests.fixtures.hostile.__main__ import write_cases

READERS: dict[str, Callable[[ByteSource], Any]] = {
    "safetensors": safetensors.read_header,
    "gguf": gguf.read_header,
    "pytorch": lambda source: open_pytorch({"model.pt": source}),
}
CASES = {
    (kind, name): case
    for kind, cases in [
        ("safetensors", hostile_safetensors.CASES),
        ("gguf", hostile_gguf.CASES),
        ("pytorch", hostile_pytorch.CASES),
    ]
    for name, case in cases.items()
}
MAX_SECONDS = 10
MAX_GROWTH_KIB = 400 * 1024
HARMLESS_EVENTS = {"object.__getattr__", "sys._getframe", "marshal.loads", "gc.collect"}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_hostile_file_is_refused_with_its_code_and_words_for_anyone(kind: str, name: str) -> None:
    code, data = CASES[kind, name]
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    with pytest.raises(HeaderError) as refused:
        READERS[kind](BytesSource(data))
    assert time.thread_time() - started < MAX_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB
    assert refused.value.code == code
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 500
    assert refused.value.retryable is False


def test_the_hostile_files_can_be_written_for_other_readers(tmp_path: Path) -> None:
    assert write_cases(tmp_path) == len(CASES) == len(list(tmp_path.iterdir()))


WATCHING_CHILD = """
import json, sys
from conversion.formats.errors import HeaderError
from conversion.formats.pytorch import open_pytorch
from conversion.formats.source import BytesSource
from tests.fixtures.hostile.pytorch import CASES

def attempt(data):
    try:
        open_pytorch({"model.pt": BytesSource(data)})
    except HeaderError as error:
        return error.code

attempt(next(iter(CASES.values()))[1])  # whatever is loaded late is loaded now
events, watching = [], True
sys.addaudithook(lambda event, arguments: events.append(event) if watching else None)
codes = [attempt(data) for name, (code, data) in CASES.items() if len(data) < 100_000]
seen = sorted(set(events))
import colorsys
watching = False
refused = len(codes) - codes.count(None)
json.dump({"events": seen, "control": "import" in events, "n_refused": refused}, sys.stdout)
"""


def test_nothing_is_imported_compiled_opened_or_run_while_hostile_pickles_are_read() -> None:
    """Python itself reports every import, exec, open and process (PEP 578); while we read there is none."""
    shown = subprocess.run(
        [sys.executable, "-c", WATCHING_CHILD],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(shown.stdout)
    assert set(found["events"]) <= HARMLESS_EVENTS
    assert found["control"]  # an import right after is reported
    assert found["n_refused"] > 140
