"""What was restored from a GGUF, loaded by transformers: it computes what the original did. With TORCH=1."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.conversion.naming.restoring.test_round_trip import FAMILY, gguf_of, opened, restored, written
from tests.fixtures.architectures.fixture import Fixture

MAX_DEVIATION = 1e-5
"""In standard deviations of the logits; what another order of the same sums makes of float32 is 2e-6."""


@pytest.mark.torch
@pytest.mark.skipif(os.environ.get("TORCH") != "1", reason="needs TORCH=1 and torch")
@pytest.mark.parametrize("name", FAMILY)
def test_transformers_computes_the_same_from_the_restored_checkpoint(name: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    fixture = Fixture(name)
    weights = opened(gguf_of(fixture.write(tmp_path)))
    written(weights, restored(weights), fixture.tensors[0][1], tmp_path / "again")
    model, told = AutoModelForCausalLM.from_pretrained(
        tmp_path / "again", dtype=torch.float32, output_loading_info=True
    )
    assert not any(told.values()), told
    with torch.no_grad():
        logits = model(torch.tensor([fixture.reference["ids"]])).logits[0].numpy()
    expected = fixture.logits
    assert np.abs(logits[-len(expected) :] - expected).max() / expected.std() < MAX_DEVIATION
