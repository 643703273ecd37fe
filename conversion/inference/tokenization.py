"""One tokenizer in several containers: do they give the same ids, and do texts survive?

A library that normalises text first (NFC, NFKC, lower case, runs of spaces) is compared on what it makes of a text, and
that is what every container must agree on: the normal form x' = decode(encode(x)) wherever encode(x') = encode(x).
llama.cpp normalises nothing for SentencePiece and BPE: for the raw text it gives other ids, whoever made the file.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from conversion.inference.engine import EngineError, Vocabulary
from conversion.inference.text_sandbox import TextSandbox

CONTAINERS = {"tokenizer.json": "tokenizer", "tokenizer.model": "tokenizer"}
"""Files of a checkpoint's folder that hold its tokenizer, the one that most clients read first."""

OURS, PARENTS = "the artifact's", "the parent's"
GGUF_ENGINE = "llama.cpp vocabulary"
SHOWN_CHARACTERS, N_CHANGED_SHOWN = 60, 40
SPACE_MARK = "\u2581"
LONGEST_PLAIN_WORD, SHORTEST_SHOWN = 60, 8
_SPECIAL = re.compile(r"<[^ ]+>|\[[A-Z]+\]")

Pair = tuple[str, list[int], list[int]]
"""A text, its ids by ours, its ids by theirs."""


@dataclass(frozen=True)
class Voice:
    """A tokenizer in one container: `name` is the container's, `who` says whose for a person."""

    name: str
    who: str
    path: Path
    sandbox: TextSandbox
    vocabulary: Vocabulary

    @property
    def is_library(self) -> bool:
        return self.name != "GGUF"

    def encode(self, texts: Sequence[str], *, parse: bool = False) -> list[list[int]]:
        with self._blamed():
            return self.sandbox.encode(texts, parse=parse)

    def decode(self, batches: Sequence[Sequence[int]]) -> list[str]:
        with self._blamed():
            return self.sandbox.decode(batches)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """What goes wrong with a parent's tokenizer is `parent-not-run`: no fault of the artifact."""
        try:
            yield
        except EngineError as error:
            if self.who == PARENTS:
                words = f"the parent's {self.name} does not answer: {error.message}"
                raise EngineError("parent-not-run", words) from error
            raise

    def survivors(self, texts: Sequence[str]) -> list[str]:
        """Each text after encoding and decoding, without the space that some put before every text."""
        back = self.decode(self.encode(["a", *texts]))
        prefix = back[0].removesuffix("a") if back[0] == " a" else ""
        return [text.removeprefix(prefix) for text in back[1:]]

    def normal_forms(self, texts: Sequence[str]) -> list[str]:
        """What each text is to this tokenizer; itself where decoding does not lead back to the same ids."""
        if not self.is_library:
            return list(texts)
        forms = self.survivors(texts)
        pairs = zip(texts, forms, self.encode(texts), self.encode(forms), strict=True)
        return [
            form if there == back and not _holds_unknown(form) else text for text, form, there, back in pairs
        ]


def open_voices(path: Path, who: str, stack: ExitStack) -> list[Voice]:
    """Every container of the artifact at `path` that holds a tokenizer, each read in a child of its own.

    Raises EngineError when one cannot be read; a crash was then seen twice.
    """
    if path.is_file():
        return [_open(GGUF_ENGINE, "GGUF", who, path, stack)] if path.suffix == ".gguf" else []
    return [
        _open(engine, name, who, path / name, stack)
        for name, engine in CONTAINERS.items()
        if (path / name).is_file()
    ]


def _open(engine: str, name: str, who: str, path: Path, stack: ExitStack) -> Voice:
    try:
        sandbox = TextSandbox(engine, path)
    except EngineError as error:
        if error.code != "engine-crashed":
            raise
        sandbox = TextSandbox(engine, path)
    stack.enter_context(sandbox)
    return Voice(name, who, path, sandbox, sandbox.describe())


@dataclass(frozen=True)
class Disagreement:
    """Texts on which two tokenizers differ, with the shortest of them in words."""

    n_texts: int
    n_differing: int
    words: str = ""

    @property
    def share(self) -> float:
        return self.n_differing / self.n_texts if self.n_texts else 0.0


def compare(ours: Voice, theirs: Voice, texts: Sequence[str], *, parse: bool = False) -> Disagreement:
    """On which of the texts two containers differ; with `parse` the text of a special token is that token."""
    forms = list(texts) if parse else theirs.normal_forms(ours.normal_forms(texts))
    pairs = zip(forms, ours.encode(forms, parse=parse), theirs.encode(forms, parse=parse), strict=True)
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    if ours.is_library != theirs.is_library:
        differing = _not_for_a_first_space(differing, theirs if ours.is_library else ours)
    words = _in_words(*_shortest(differing), ours, theirs) if differing else ""
    return Disagreement(len(forms), len(differing), words)


def _not_for_a_first_space(differing: list[Pair], llama: Voice) -> list[Pair]:
    """Those that differ for more than a text's first space, which llama.cpp keeps beside its own and others merge."""
    spaced = [pair for pair in differing if pair[0][:1] in (" ", SPACE_MARK)]
    bare = llama.encode([text[1:] for text, *_ in spaced])
    excused = {text for (text, *ids), alone in zip(spaced, bare, strict=True) if alone in ids}
    return [pair for pair in differing if pair[0] not in excused]


def compare_known(ours: Voice, known: Mapping[str, Sequence[int]], texts: Sequence[str]) -> Disagreement:
    """On which of the texts whose ids are `known` ours differ, of those that no tokenizer normalises."""
    asked = [text for text in texts if text in known and is_plain(text)]
    pairs = zip(asked, ours.encode(asked), (list(known[text]) for text in asked), strict=True)
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    words = _in_words(*_shortest(differing), ours, None) if differing else ""
    return Disagreement(len(asked), len(differing), words)


def _shortest(differing: Sequence[Pair]) -> Pair:
    """The one in which a person sees the difference at once."""
    return min(differing, key=lambda pair: (len(pair[0]) < SHORTEST_SHOWN, len(pair[0])))


def is_plain(text: str) -> bool:
    """Whether every engine that we know gives it the same ids, after whatever it normalises.

    Not: control characters, stray spaces, what NFKC changes, marks that WordPiece drops, words beyond its hundred
    characters, and what looks like a special token.
    """
    return (
        text.isprintable()
        and " ".join(text.split()) == text == unicodedata.normalize("NFKC", text) != ""
        and not any(letter == SPACE_MARK or unicodedata.category(letter)[0] == "M" for letter in text)
        and max(map(len, text.split())) <= LONGEST_PLAIN_WORD
        and not _SPECIAL.search(text)
    )


def _in_words(text: str, a: Sequence[int], b: Sequence[int], ours: Voice, theirs: Voice | None) -> str:
    """`'naïve café'` gives 5 ids here and 4 in the parent's GGUF: number 2 is 312 ('na') instead of 904 ('naï')."""
    at = next(
        (i for i, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b))
    )
    where = f"{theirs.who} {theirs.name}" if theirs else "the parent"
    n = (
        f"{len(a)} ids here and {len(b)} in {where}"
        if len(a) != len(b)
        else f"other ids here than in {where}"
    )
    here, there = _token(a, at, ours), _token(b, at, theirs or ours)
    return f"{shown(text)} gives {n}: number {at + 1} is {here} instead of {there}"


def _token(ids: Sequence[int], at: int, voice: Voice) -> str:
    if at >= len(ids):
        return "missing"
    try:
        return f"{ids[at]} ({shown(_piece(ids, at, voice))})"
    except EngineError:
        return str(ids[at])


def _piece(ids: Sequence[int], at: int, voice: Voice) -> str:
    """What a token adds to the text, after the one before it: at the beginning libraries leave out its space."""
    if at == 0:
        return voice.decode([[ids[0]]])[0]
    before, both = voice.decode([[ids[at - 1]], [ids[at - 1], ids[at]]])
    return both.removeprefix(before)


def shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:N_CHANGED_SHOWN] + "…")


@dataclass(frozen=True)
class RoundTrip:
    """How many texts come back as they were, and which are still changing after a second turn."""

    n_texts: int
    n_lossless: int
    n_unknown: int
    unstable: list[str]


def round_trip(voice: Voice, texts: Sequence[str]) -> RoundTrip:
    """What becomes of the texts. A tokenizer that normalises must have done so after one turn."""
    once = voice.survivors(texts)
    changed = [text for text, back in zip(texts, once, strict=True) if text != back]
    forms = [back for text, back in zip(texts, once, strict=True) if text != back]
    known = [not _holds_unknown(form) for form in forms]
    again = voice.survivors(forms)
    unstable = [
        text
        for text, form, twice, is_known in zip(changed, forms, again, known, strict=True)
        if is_known and form != twice
    ]
    return RoundTrip(len(texts), len(texts) - len(changed), known.count(False), unstable)


def _holds_unknown(text: str) -> bool:
    """Whether a piece for what is not in the vocabulary came out."""
    return any(mark in text for mark in ("[UNK]", "<unk>", "\u2047", "\ufffd"))
