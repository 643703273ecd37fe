"""The known vector that llama.cpp must give before it may judge an embedding model, asked once a process.

The functions that pool and give vectors are others than those that give logits: a build may be right in one and wrong
in the other.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from conversion.inference.embeddings import row_cosines
from conversion.inference.engine import EngineError, EngineReport
from conversion.inference.sandbox import Sandbox
from conversion.inference.selftest import check_engine
from conversion.inference.starting import starting

ANSWER = Path(__file__).with_name("known") / "embedding.json"


@cache
@starting()
def check_embedder(threads: int = 1) -> EngineReport:
    """llama.cpp gave the known answers, of text and of vectors. EngineError `engine-mismatch`, `engine-missing`."""
    report, answer = check_engine("llama.cpp", threads), json.loads(ANSWER.read_text())
    model = ANSWER.with_name(answer["model"])
    if hashlib.sha256(model.read_bytes()).hexdigest() != answer["sha256"]:
        raise _mismatch(f"{model.name} is not the file whose answer is known; reinstall it")
    try:
        with Sandbox("llama.cpp", model, threads=threads) as sandbox:
            _ask(sandbox, answer)
    except EngineError as error:
        if error.says_nothing_of_the_file:
            raise
        raise _mismatch(f"it cannot run the model whose vector is known: {error}") from error
    return report


def _ask(sandbox: Sandbox, answer: dict[str, Any]) -> None:
    ids = sandbox.tokenize(answer["text"], special=True)
    if ids != answer["ids"]:
        raise _mismatch(f"the ids are {ids}, expected {answer['ids']}")
    rows, pooling = sandbox.embed(ids)
    expected = np.array([answer["vector"]], np.float32)
    if rows.shape != expected.shape or pooling != answer["pooling"]:
        raise _mismatch(
            f"{rows.shape} values pooled by {pooling}, expected {expected.shape} by {answer['pooling']}"
        )
    cosine = float(row_cosines(rows, expected)[0])
    if not cosine >= answer["min_cosine"]:
        raise _mismatch(f"the cosine to the known vector is {cosine:.5f}, expected {answer['min_cosine']}")


def _mismatch(what: str) -> EngineError:
    return EngineError(
        "engine-mismatch",
        f"llama.cpp failed its self-test: {what}. No embedding model is validated with it here.",
    )
