"""A hub on loopback and a person's home. The client is imported from its source, as its subprocesses are."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.calling import Caller
from tests.client.running import SOURCE, Home
from tests.client.server import HoldfastHub

sys.path.insert(0, str(SOURCE))

CARD = b"# A small model\n"
CONFIG = b'{"model_type": "llama"}\n'


def noise(n_bytes: int, seed: int = 0) -> bytes:
    """Bytes that are the same in every run and compress to nothing."""
    return random.Random(seed).randbytes(n_bytes)


SMALL = noise(300_000, 1)
LARGE = noise(20_000_000, 2)  # two parts: the second is shorter


@pytest.fixture
def hub() -> Iterator[HoldfastHub]:
    with HoldfastHub() as running:
        yield running


IN_PROCESS = {
    "test_bad_input", "test_list_and_check", "test_cache_command", "test_holdings", "test_destination", "test_remove",
    "test_bundle", "test_find_links", "test_search", "test_show", "test_identify", "test_locating", "test_versions",
    "test_best", "test_login", "test_lock", "test_sync", "test_freeze", "test_requirements",
}  # fmt: skip
"""Modules whose commands run in this process, which costs a fifth. test_against_server.py and test_pull.py start real
ones, and `Home.start` always does."""


@pytest.fixture
def home(hub: HoldfastHub, tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    in_process = request.module.__name__.rpartition(".")[2] in IN_PROCESS
    return (Caller if in_process else Home)(folder, hub.url)


@pytest.fixture
def model(hub: HoldfastHub) -> str:
    """org/model: a checkpoint of safetensors in two sizes, with a folder and a small LFS file. Returns its commit."""
    return hub.add(
        "org/model",
        {
            "README.md": CARD, "config.json": CONFIG, "empty.txt": b"", "sub folder/vocab+é#1.txt": b"a\nb\n",
            "model-00001-of-00002.safetensors": SMALL, "model-00002-of-00002.safetensors": LARGE,
            "model.safetensors.index.json": b"{}",
        },
    )  # fmt: skip


@pytest.fixture
def quants(hub: HoldfastHub) -> str:
    """org/quants-GGUF: three quantization types, one of them in two shards. Returns its commit."""
    return hub.add(
        "org/quants-GGUF",
        {
            "README.md": CARD, "quants-Q4_K_M.gguf": noise(40_000, 4), "quants-Q8_0.gguf": noise(80_000, 8),
            "F16/quants-F16-00001-of-00002.gguf": noise(90_000, 16),
            "F16/quants-F16-00002-of-00002.gguf": noise(70_000, 17),
        },
    )  # fmt: skip
