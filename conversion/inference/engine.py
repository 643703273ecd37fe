"""The contract of an engine, and what every engine and its process say in the same words.

An engine lives in a child process (child.py) and is spoken to through sandbox.py. A new one is one module with
a function `start(threads) -> Engine`, one test file, and one line in `ENGINES`.
"""

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

ENGINES = {
    "llama.cpp": "conversion.inference.llamacpp",
    "transformers": "conversion.inference.transformers",
    "transformers embeddings": "conversion.inference.transformers_embeddings",
    "onnxruntime": "conversion.inference.onnxruntime",
    "tokenizer": "conversion.inference.vocabulary",
    "llama.cpp vocabulary": "conversion.inference.llama_vocabulary",
    "jinja": "conversion.inference.jinja",
    "probe": "conversion.inference.attacks",
}
"""Engine name -> module. The module is imported in the child only."""

NEEDS_SCRATCH = frozenset({"transformers", "transformers embeddings", "probe"})
"""Engines that fail without a writable temporary folder: torch makes one while it loads, and the probe tries to fill
it. It is gone afterwards."""


MACHINES_FAULTS = frozenset(
    {"engine-missing", "engine-mismatch", "engine-out-of-memory", "engine-timeout", "parent-not-run"}
)


class EngineError(Exception):
    """An engine, or the process around it, could not do what was asked.

    Codes: `engine-missing`, `engine-mismatch`, `engine-out-of-memory`, `engine-timeout`, `engine-crashed`,
    `engine-answer`, `load-refused`, `unsupported-architecture`, `decode-failed`, `parent-not-run`. `facts` is
    JSON: for a crash it holds `signal`, for a refused load what the engine logged.
    """

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.facts = code, message, facts

    @property
    def says_nothing_of_the_file(self) -> bool:
        """True when this machine or engine is at fault, so that no verdict on the artifact follows."""
        return self.code in MACHINES_FAULTS


@dataclass(frozen=True)
class EngineReport:
    """Exactly which engine ran: part of every report, since figures are comparable only within one build."""

    name: str
    package: str
    version: str
    library_sha256: str = ""
    library_version: str = ""
    threads: int = 1
    cpu_features: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"cpu_features": list(self.cpu_features)}

    def __str__(self) -> str:
        return f"{self.name} ({self.package} {self.version})"


@dataclass(frozen=True)
class Facts:
    """What a loaded model says of itself."""

    n_vocab: int
    n_context: int
    bos_id: int | None
    adds_bos: bool
    description: str = ""


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer says of itself.

    `special` holds the id of each kind that it has (`bos`, `eos`, …), `adds` what it puts around a text, `ends` the
    control tokens with which generation ends.
    """

    kind: str
    n_tokens: int
    special: dict[str, int] = field(default_factory=dict)
    adds: dict[str, bool] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)


MAX_RENDERED_CHARACTERS = 12_000
"""Of one conversation by a chat template: ours need some hundreds, the longest instructions known some thousands."""


class TextModel(Protocol):
    """What handles text without weights. An engine has those of these methods that it can have."""

    facts: Facts

    def describe(self) -> Vocabulary: ...

    def encode(self, texts: Sequence[str], *, special: bool, parse: bool) -> list[list[int]]:
        """The ids of each text; with `parse` the text of a special token becomes that token."""
        ...

    def decode(self, batches: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of ids, with U+FFFD for bytes that are no UTF-8."""
        ...

    def render(
        self, template: str, conversations: Sequence[dict[str, Any]], variables: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """`text` of each conversation by this chat template, or `error` and `message`."""
        ...


@dataclass(frozen=True)
class Embedding:
    """What a model of embeddings says of a text: float32 (n_rows, width), row-major, little-endian.

    One row where the model pools (`pooling` says how), else one for each token. A reranker's row holds scores.
    """

    data: bytes
    n_rows: int
    width: int
    pooling: str


class Model(Protocol):
    """A loaded artifact. One at a time, one caller at a time; no cache survives a call unless it says so."""

    facts: Facts

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """The ids of `text`; with `special` the beginning-of-text token that the model expects comes first."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str: ...

    def is_end(self, token: int) -> bool:
        """Whether generation ends with this token."""
        ...

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        """Bytes of float32 logits, row-major (len(ids) - first, n_vocab), of the positions from `first` on.

        Starts from nothing unless `extend`, which continues the ids of the previous call. The memory is the
        engine's own and holds until the next call. Raises EngineError `decode-failed`.
        """
        ...


class Embedder(Model, Protocol):
    """A model that can also turn a text into a vector."""

    def embed(self, ids: Sequence[int]) -> Embedding:
        """Of the text with these ids, special tokens among them. Raises EngineError `decode-failed`."""
        ...


class Engine(Protocol):
    """One engine in one process."""

    report: EngineReport

    def load(self, path: str) -> Model:
        """The artifact at `path` (a file, or the folder of a checkpoint). Raises EngineError."""
        ...


def start_engine(name: str, threads: int) -> Engine:
    """The engine of that name, in this process. Raises EngineError `engine-missing`."""
    try:
        engine: Engine = importlib.import_module(ENGINES[name]).start(threads)
    except ImportError as error:
        raise EngineError(
            "engine-missing", f"the engine {name} is not installed here: {error}. See docs/validation.md."
        ) from error
    return engine
