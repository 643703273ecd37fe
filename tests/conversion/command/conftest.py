"""A checkpoint and a GGUF, small and real, for whatever the command line makes of them."""

from pathlib import Path

import pytest

from tests.conversion.naming.models import config, write_checkpoint
from tests.fixtures.requantised.models import MODELS, write_gguf


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "tiny", config(), dtype="BF16")
    return tmp_path / "tiny"


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    path = tmp_path / "dense-BF16.gguf"
    path.write_bytes(write_gguf(MODELS["dense"]))
    return path
