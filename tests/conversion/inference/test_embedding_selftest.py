"""The known vector is transformers' own, and llama.cpp gives it."""

import json

import numpy as np

from conversion.inference.embedding_selftest import ANSWER, check_embedder
from tests.fixtures.architectures.fixture import Fixture


def test_the_known_vector_is_what_transformers_recorded() -> None:
    answer, fixture = json.loads(ANSWER.read_text()), Fixture("bert-tiny")
    np.testing.assert_allclose(answer["vector"], fixture.embeddings.mean(axis=0), atol=1e-5)
    assert answer["ids"] == fixture.reference["ids"]
    assert ANSWER.with_name(answer["model"]).stat().st_size < 200_000


def test_llama_cpp_gives_it() -> None:
    assert check_embedder().name == "llama.cpp"
