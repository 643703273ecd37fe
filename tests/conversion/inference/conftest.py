"""The base of the sample family as GGUF files, converted once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conversion.inference.ggufs import BASE, SAMPLES, convert

Converted = Callable[..., Path]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """`converted("Q8_0")` is the base in that type, `converted("Q8_0", "ft-gentle-bf16")` another checkpoint."""
    folder = tmp_path_factory.mktemp("ggufs")

    def make(type_name: str, sample: str = BASE.name) -> Path:
        path = folder / f"{sample}-{type_name}.gguf"
        return path if path.exists() else convert(SAMPLES / sample, type_name, path)

    return make
