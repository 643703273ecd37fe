"""Embedding models and rerankers: a hundred sentences become vectors in the artifact and in its parent.

A GGUF runs in llama.cpp. The folder of a checkpoint runs in transformers where torch is installed, else as our own F32
GGUF of it in llama.cpp, made for this one run. Both read the ids of the parent's tokenizer.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from conversion.formats.errors import HeaderError
from conversion.inference.checks.trial import Reference, Trial
from conversion.inference.embedding_selftest import check_embedder
from conversion.inference.embeddings import (
    EmbeddingFigures,
    Vectors,
    compare,
    fault,
    margin,
    pair_similarities,
)
from conversion.inference.engine import EngineError
from conversion.inference.kinds.base import Kind
from conversion.inference.own_gguf import write_gguf
from conversion.inference.pairs import PATH, SHA256, sentences
from conversion.inference.report import Check
from conversion.inference.sandbox import Sandbox
from conversion.naming import NamingError

TRANSFORMERS = "transformers embeddings"
RERANKER = "rank"


def load(trial: Trial, check: Check) -> None:
    trial.artifact = _open(trial, trial.path, "artifact")
    trial.report.isolation = trial.artifact.isolation
    facts = trial.artifact.facts
    check.pass_(
        f"loads: {facts.description.replace(' ?B', '')}, {facts.n_vocab} tokens, context {facts.n_context}"
    )
    if trial.reference is not None:
        _open_parent(trial, trial.reference)


def _open(trial: Trial, path: Path, role: str, engine: str = TRANSFORMERS) -> Sandbox:
    """The model at `path`, whatever runs it; the report names the engine. Operators may want llama.cpp for parents."""
    if path.is_dir() and engine != "llama.cpp" and find_spec("torch") is not None:
        model = trial.open(TRANSFORMERS, path)
        trial.report.engines[role] = model.report
        return model
    trial.report.engines[role] = check_embedder(trial.threads)
    return trial.open("llama.cpp", _own_gguf(trial, path, role) if path.is_dir() else path)


def _own_gguf(trial: Trial, folder: Path, role: str) -> Path:
    scratch = Path(trial.stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-gguf-")))
    try:
        made = write_gguf(folder, scratch / f"{role}.gguf")
    except (HeaderError, NamingError) as error:
        raise EngineError("unsupported-architecture", f"no GGUF can be made of it to run: {error}") from error
    trial.report.artifact.setdefault("run_as", {})[role] = "our own F32 GGUF"
    return made


def _open_parent(trial: Trial, reference: Reference) -> None:
    with trial.report.check("fidelity") as check:
        try:
            trial.parent = _open(trial, reference.path, "parent", reference.engine)
        except EngineError as error:
            # Never the artifact's fault, whatever is wrong with the parent.
            code = error.code if error.says_nothing_of_the_file else "parent-not-run"
            check.error(f"the parent could not be run: {error}", error.facts, code=code)


def forward(trial: Trial, check: Check) -> None:
    """The check is written; the vectors of both are kept for the next one."""
    trial.report.texts |= {PATH.name: SHA256}
    reader = trial.parent or trial.artifact
    n_window = min(one.facts.n_context for one in (trial.artifact, trial.parent) if one is not None)
    texts = [_cut(reader.tokenize(text, special=True), n_window) for text in sentences()]
    ours = _vectors(trial, trial.artifact, texts)
    trial.report.artifact["pooling"] = trial.kept["pooling"]
    if found := fault(ours):
        check.fail(found[1], code=found[0])
        return
    trial.kept["ours"] = ours
    if trial.parent is not None:
        trial.kept["theirs"] = _vectors(trial, trial.parent, texts)
    if trial.kept["pooling"] == RERANKER:
        check.pass_(
            f"{len(ours)} times finite scores, {ours.shape[1]} of each text", {"width": ours.shape[1]}
        )
    else:
        _write(check, ours)


def _cut(ids: list[int], n_window: int) -> list[int]:
    """At most a window of them, the last one (often an end mark) always there."""
    return ids if len(ids) <= n_window else [*ids[: n_window - 1], ids[-1]]


def _vectors(trial: Trial, model: Sandbox, texts: list[list[int]]) -> Vectors:
    """float32 (100, width): the mean over its tokens where a model does not pool by itself."""
    rows = []
    for index, ids in enumerate(texts):
        trial.on_progress("embedding", 0.3 + 0.6 * index / len(texts))
        found, trial.kept["pooling"] = model.embed(ids)
        rows.append(found.mean(axis=0))
    return np.stack(rows).astype(np.float32)


def _write(check: Check, vectors: Vectors) -> None:
    n, width = vectors.shape
    apart = margin(pair_similarities(vectors))
    value = {"n_sentences": n, "width": width, "margin": round(apart, 4)}
    if apart <= 0:
        check.warn(
            "sentences of one meaning are no more alike to it than unrelated ones, in any language", value
        )
    else:
        check.pass_(
            f"{n} finite vectors of {width} numbers; the same meaning is {apart:.2f} closer than none", value
        )


def fidelity(trial: Trial, check: Check) -> None:
    if trial.reference is None or trial.parent is None:
        check.skip("there is no parent to compare with")
        return
    ours, theirs = trial.kept["ours"], trial.kept["theirs"]
    if ours.shape != theirs.shape:
        check.fail(f"vectors of {ours.shape[1]} numbers, but the parent's have {theirs.shape[1]}",
                   ours.shape[1], theirs.shape[1], code="width-differs")  # fmt: skip
    elif not np.isfinite(theirs).all():
        check.error("the parent's vectors hold NaN or infinity", code="parent-not-run")
    else:
        _judge(trial, check, trial.reference, compare(theirs, ours))


def _judge(trial: Trial, check: Check, reference: Reference, figures: EmbeddingFigures) -> None:
    name = trial.limits.class_of(trial.look.weights.entries.values(), reference.dtypes).name
    trial.report.limits_class = name
    limits = trial.limits.vectors[name]
    scores = trial.kept["pooling"] == RERANKER
    missed = limits.misses(figures, scores=scores)
    value, limit = figures.as_json(), vars(limits).copy()
    what = f"for a file of class {name}"
    if limits.fails(figures, scores=scores) or len(missed) > trial.limits.max_missed_pass_limits:
        check.fail(f"its vectors are not its parent's {what}: {'; '.join(missed)}", value, limit,
                   code="too-far-from-parent")  # fmt: skip
    elif missed:
        check.warn(f"close to its parent {what}, but {missed[0]}", value, limit)
    elif scores:
        check.pass_(f"scores what its parent scores: rank correlation {figures.spearman:.4f}", value, limit)
    else:
        close = f"mean cosine {figures.mean_cosine:.5f}, smallest {figures.min_cosine:.5f}"
        check.pass_(
            f"its vectors are its parent's: {close}, rank correlation {figures.spearman:.4f}", value, limit
        )


EMBEDDING = Kind(load, forward, fidelity)
