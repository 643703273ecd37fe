"""The artifact's tokenizer loses nothing, gives the ids that its parent's gives, and its chat template is the parent's.

Before any weight is loaded: llama.cpp reads the vocabulary alone. Texts are the lines of the evaluation texts and the
awkward strings of strings.py. What the same engine says of a parent's GGUF must be the same in everything; a library's
answer only on plain text, for llama.cpp and the libraries part on stray spaces and control characters in any file.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.inference import strings
from conversion.inference.chat_comparison import Speakers, compare_templates, templates_of
from conversion.inference.checks.trial import Reference, Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.findings import Findings
from conversion.inference.readings import text_lines
from conversion.inference.selftest import check_engine
from conversion.inference.special_tokens import compare_special, expected_special
from conversion.inference.tokenization import (
    CONTAINERS,
    OURS,
    PARENTS,
    Disagreement,
    Voice,
    compare,
    compare_known,
    is_plain,
    open_voices,
    round_trip,
)
from conversion.inference.tokenizer_tables import compare_tables, is_same_tokenizer, read_tables

MAX_AWKWARD_SHARE = 0.25
"""Of the strings that are not plain: more than any two engines that we know differ on, for a sound file."""

SPEAKING = ("decoder", "embedding", "onnx")
"""Kinds of artifacts that are given text."""

EMBEDDINGS = (
    ".token_embd.weight",
    ".embed_tokens.weight",
    ".wte.weight",
    ".word_embeddings.weight",
    ".embed_in.weight",
)
"""How the names of the matrix end that has a row for every token."""


@dataclass
class Asked:
    """What is compared: our container, the parent's, and the texts. `is_copy`: llama.cpp would say the same of both."""

    trial: Trial
    findings: Findings
    ours: Voice
    theirs: list[Voice] = field(default_factory=list)
    is_copy: bool = False
    texts: list[str] = field(default_factory=lambda: [*text_lines(), *strings.read_strings()])

    @property
    def reference(self) -> Reference | None:
        return self.trial.reference


def check_tokenizer(trial: Trial) -> None:
    trial.on_progress("reading the tokenizer", 0.15)
    with trial.report.check("tokenizer") as check, ExitStack() as stack:
        try:
            findings = _find(trial, stack)
        except EngineError as error:
            record(check, error)
            return
        except HeaderError as error:
            check.fail(f"its tokenizer cannot be read: {error}", code=error.code)
            return
        if findings is None:
            check.skip("it has no tokenizer that an engine reads")
        else:
            findings.write(check)


def _find(trial: Trial, stack: ExitStack) -> Findings | None:
    findings = Findings()
    if trial.subject.kind not in SPEAKING:
        return None
    if trial.header is not None:
        trial.report.engines["artifact"] = check_engine("llama.cpp", trial.threads)
    ours = open_voices(trial.path, OURS, stack) if _has_tokenizer(trial) else []
    if not ours:
        reads_text = trial.subject.kind in ("decoder", "embedding")
        if trial.header is None or trial.reference is None or not reads_text:
            return None
        findings.fail("it is to be compared with a parent, and has no tokenizer", "tokenizer-missing")
        return findings
    trial.report.texts |= {strings.NAME: strings.SHA256}
    asked = Asked(trial, findings, ours[0])
    _check_rows(asked)
    _check_survival(asked)
    for voice in _parents_voices(asked, stack):
        trial.report.engines[f"parent's {voice.name}"] = voice.sandbox.report
        _compare_with(asked, voice)
    for voice in ours[1:]:
        _compare_own(asked, voice)
    _compare_stated(asked)
    if not findings.failures:
        _compare_templates(asked)
    return findings


def _has_tokenizer(trial: Trial) -> bool:
    header = trial.header
    return header is None or header.get("tokenizer.ggml.model", "none") not in ("no_vocab", "none")


def _parents_voices(asked: Asked, stack: ExitStack) -> Iterator[Voice]:
    """Every container that the parent holds; whatever is wrong with one is no fault of the artifact.

    A GGUF whose tokenizer is ours to the last byte need not be asked.
    """
    for path in _parents_paths(asked.reference):
        try:
            if path.is_file() and not asked.ours.is_library and is_same_tokenizer(asked.ours.path, path):
                asked.is_copy = True
                _note(asked, "GGUF", Disagreement(len(asked.texts), 0))
                asked.findings.approve("its tokenizer is that of the parent's GGUF to the last byte")
            else:
                yield from open_voices(path, PARENTS, stack)
        except (EngineError, HeaderError) as error:
            asked.findings.warn(f"the parent's tokenizer in {path.name} was not read: {error}")


def _parents_paths(reference: Reference | None) -> list[Path]:
    """The parent as it runs, if that is a GGUF, and the folder of its own files."""
    if reference is None:
        return []
    runs = [reference.path] if reference.path.is_file() else []
    folder = _parents_folder(reference)
    return runs + ([folder] if folder else [])


def _parents_folder(reference: Reference | None) -> Path | None:
    if reference is None:
        return None
    if reference.tokenizer is not None:
        return reference.tokenizer.parent
    return reference.path if reference.path.is_dir() else None


def _check_rows(asked: Asked) -> None:
    """Every token has a row of weights; a GGUF has no row without a token, as llama.cpp demands."""
    entries = asked.trial.look.weights.entries
    rows = next((entry.shape[0] for name, entry in entries.items() if f".{name}".endswith(EMBEDDINGS)), None)
    n_tokens = asked.findings.value["n_tokens"] = asked.ours.vocabulary.n_tokens
    if rows is None or rows == n_tokens:
        return
    words = f"{n_tokens} tokens, but {rows} rows of embeddings"
    if not asked.ours.is_library:
        asked.findings.fail(words, "vocabulary-differs")
    elif rows < n_tokens:
        asked.findings.warn(words)


def _check_survival(asked: Asked) -> None:
    """Texts come back, or come to rest after one turn; a line of prose or code that does not is a loss."""
    trip = round_trip(asked.ours, asked.texts)
    value = asked.findings.value["round_trip"] = {"texts": trip.n_texts, "unchanged": trip.n_lossless}
    lost = [text for text in trip.unstable if is_plain(text)]
    value["lost"] = len(lost)
    if len(lost) > asked.trial.limits.tokenizer_differing_lines * trip.n_texts:
        words = (
            f"{len(lost)} of {trip.n_texts} texts do not survive encoding, the first of them {lost[0][:60]!r}"
        )
        asked.findings.fail(words, "tokenizer-lossy")
    else:
        others = "" if trip.n_lossless == trip.n_texts else " and the others as it normalises them"
        asked.findings.approve(f"{trip.n_lossless} of {trip.n_texts} texts come back unchanged{others}")


def _compare_with(asked: Asked, voice: Voice) -> None:
    """One container of the parent, which is asked again later if it answers now."""
    try:
        _judge_voice(asked, voice)
        asked.theirs.append(voice)
    except EngineError as error:
        if error.code != "parent-not-run":
            raise
        asked.findings.warn(error.message)


def _judge_voice(asked: Asked, voice: Voice) -> None:
    """What the same engine says of the parent's GGUF must be the same in everything."""
    if voice.name != "tokenizer.model":
        _compare_written_tokens(asked, voice)
    if voice.is_library or asked.ours.is_library:
        _judge_library(asked, voice)
        return
    found = compare(asked.ours, voice, asked.texts)
    _note(asked, voice.name, found)
    if found.n_differing:
        asked.findings.fail(found.words, "tokenizer-differs")
    else:
        asked.findings.approve(f"all have the ids of the parent's {voice.name}")
    compare_special(asked.ours.vocabulary, voice.vocabulary, asked.findings)
    for difference in compare_tables(read_tables(asked.ours.path), read_tables(voice.path)):
        if difference.breaks_text:
            asked.findings.fail(f"its tokenizer is not its parent's: {difference.words}", "tokenizer-differs")
        else:
            asked.findings.warn(f"its tokenizer is not quite its parent's: {difference.words}")


def _judge_library(asked: Asked, voice: Voice) -> None:
    plain = [text for text in asked.texts if is_plain(text)]
    awkward = [text for text in asked.texts if not is_plain(text)]
    found, odd = compare(asked.ours, voice, plain), compare(asked.ours, voice, awkward)
    _note(asked, voice.name, found, odd)
    _judge_shares(asked, f"the parent's {voice.name}", found, odd)


def _compare_written_tokens(asked: Asked, voice: Voice) -> None:
    """The text of a special token becomes that token, as chat templates rely on."""
    vocabulary = asked.ours.vocabulary
    tokens = sorted({*vocabulary.special.values(), *vocabulary.ends})
    # Nothing follows it: before that llama.cpp puts another space for SentencePiece, whatever the file says.
    texts = [f"a{text}" for text in asked.ours.sandbox.decode([[token] for token in tokens])]
    found = compare(asked.ours, voice, texts, parse=True)
    if found.n_differing:
        asked.findings.warn(f"special tokens are read otherwise in text: {found.words}")


def _judge_shares(asked: Asked, whose: str, plain: Disagreement, awkward: Disagreement) -> None:
    if plain.share > asked.trial.limits.tokenizer_differing_lines or awkward.share > MAX_AWKWARD_SHARE:
        asked.findings.fail(plain.words or awkward.words, "tokenizer-differs")
    elif plain.n_differing:
        asked.findings.warn(plain.words)
    else:
        asked.findings.approve(f"{plain.n_texts} plain texts have the ids of {whose}")


def _compare_own(asked: Asked, voice: Voice) -> None:
    """The artifact's own containers agree: which one is read depends on the client."""
    found = compare(asked.ours, voice, [text for text in asked.texts if is_plain(text)])
    if found.n_differing:
        asked.findings.warn(f"its own tokenizers differ: {found.words}")


def _compare_stated(asked: Asked) -> None:
    """What is known of the parent without one of its tokenizers in llama.cpp: a recording, and its settings."""
    reference = asked.reference
    if reference is not None and reference.reading is not None and not asked.theirs and not asked.is_copy:
        known = reference.reading.strings
        plain = compare_known(asked.ours, known, asked.texts)
        _note(asked, "reading", plain)
        _judge_shares(asked, "the parent, as recorded", plain, Disagreement(0, 0))
    folder = _parents_folder(reference)
    asked_llama = asked.is_copy or not all(voice.is_library for voice in asked.theirs)
    if folder is not None and not asked_llama and not asked.ours.is_library:
        stated = expected_special(folder, asked.ours.vocabulary)
        if stated is not None:
            compare_special(asked.ours.vocabulary, stated, asked.findings)


def _note(asked: Asked, name: str, *found: Disagreement) -> None:
    value = asked.findings.value.setdefault("differing", {})
    value[name] = sum(one.n_differing for one in found)


def _compare_templates(asked: Asked) -> None:
    try:
        own = templates_of(asked.trial.path)
    except EngineError as error:
        asked.findings.fail(f"its chat templates cannot be read: {error.message}", error.code)
        return
    parents: dict[str, str] | None = None
    folder = _parents_folder(asked.reference)
    try:
        if folder is not None and any((folder / name).exists() for name in CONTAINERS):
            parents = templates_of(folder)
        elif asked.reference is not None and asked.reference.path.is_file():
            parents = templates_of(asked.reference.path)
    except (EngineError, HeaderError) as error:
        asked.findings.warn(f"its parent's chat templates were not read: {error}")
    compare_templates(own, parents, Speakers(asked.ours, asked.theirs, asked.findings))
