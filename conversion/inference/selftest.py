"""The known answers an engine must give before it may judge anything, asked once a process and engine.

A build whose structs or kernels differ from those we know may load a file and talk nonsense; that must never
become a verdict on the file. The library's own digest is compared with what the wheel declared at installation.
"""

import hashlib
import json
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from typing import Any

import numpy as np

from conversion.inference.engine import EngineError, EngineReport
from conversion.inference.llama_api import PACKAGE
from conversion.inference.sandbox import Sandbox
from conversion.inference.starting import starting

FOLDER = Path(__file__).with_name("known")


@cache
@starting()
def check_engine(engine: str, threads: int = 1) -> EngineReport:
    """The engine gave the known answers in a sandbox; what it says of itself, with its library's digest.

    Raises EngineError: `engine-mismatch` when an answer is another, `engine-missing` when it is not installed.
    """
    answers = json.loads((FOLDER / "answers.json").read_text())
    model = FOLDER / answers["model"]
    _expect("the model's sha256", hashlib.sha256(model.read_bytes()).hexdigest(), answers["sha256"])
    digest = library_digest() if engine == "llama.cpp" else packages_digest()
    try:
        with Sandbox(engine, model, threads=threads) as sandbox:
            _ask(sandbox, answers)
            return replace(sandbox.report, library_sha256=digest)
    except EngineError as error:
        if error.says_nothing_of_the_file:
            raise
        raise _mismatch(f"it cannot run the model whose answers are known: {error}") from error


def _ask(sandbox: Sandbox, answers: dict[str, Any]) -> None:
    ids = sandbox.tokenize(answers["text"], special=True)
    _expect("the ids", ids, answers["ids"])
    for position, token in enumerate(answers["next_tokens"]):
        (rows,) = sandbox.logits(ids, first=len(ids) - 1)
        if position == 0:
            _expect_logits(rows[0], answers)
        _expect(f"new token {position + 1}", int(np.argmax(rows[0])), token)
        ids.append(token)


def _expect_logits(row: np.ndarray[Any, np.dtype[np.float32]], answers: dict[str, Any]) -> None:
    for token, logit in answers["next_logits"].items():
        if abs(float(row[int(token)]) - logit) > answers["tolerance"]:
            raise _mismatch(f"the logit of token {token} is {row[int(token)]:.4f}, expected {logit:.4f}")


def _expect(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise _mismatch(f"{what} is {actual}, expected {expected}")


def _mismatch(what: str) -> EngineError:
    return EngineError(
        "engine-mismatch", f"the engine failed its self-test: {what}. Nothing is validated with it here."
    )


@cache
def library_digest() -> str:
    """sha256 of llama.cpp's library, which is the one that the wheel brought.

    Raises EngineError `engine-mismatch` when the file is not what the wheel's RECORD declares.
    """
    try:
        files = distribution(PACKAGE).files or []
    except ModuleNotFoundError as error:
        raise EngineError("engine-missing", f"llama.cpp is not installed: `pip install {PACKAGE}`") from error
    library: PackagePath = next(file for file in files if file.name.endswith(".so"))
    with Path(str(library.locate())).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    declared = library.hash
    if declared and declared.mode == "sha256":
        _expect("the library's sha256", _urlsafe(digest.digest()), declared.value)
    return digest.hexdigest()


@cache
def packages_digest(names: tuple[str, ...] = ("transformers", "torch")) -> str:
    """sha256 over pip's RECORD of these packages, which lists each file with its digest; "" without one."""
    records = []
    for name in names:
        try:
            records.append(distribution(name).read_text("RECORD"))
        except PackageNotFoundError:
            return ""
    if None in records:
        return ""
    return hashlib.sha256("".join(map(str, records)).encode()).hexdigest()


def _urlsafe(digest: bytes) -> str:
    """As in a wheel's RECORD: base64 for URLs, without padding."""
    import base64

    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
