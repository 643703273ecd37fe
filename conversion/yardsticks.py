"""Yardsticks: our own plain requantisation of a parent, judged once, that files of the same type are held against.

It is made into a temporary file by the recipe that has nothing but its file type (no importance matrix, no overrides),
judged against the reading of the parent, and thrown away; its figures stay as a row. What we made by that very recipe
is its own yardstick: its figures are the row.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.imatrices import NoImatrix
from conversion.inference.checks.trial import OnProgress, Reference
from conversion.inference.fidelity import Figures
from conversion.inference.judge import judge
from conversion.inference.limits import Yardstick as Measure
from conversion.inference.limits import main_type, read_limits
from conversion.inference.report import Report, canonical_json
from conversion.inference.subjects import Look
from conversion.naming import NamingError
from conversion.naming.file_types import ALIASES, FILE_TYPES, RULES, FileType
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
from conversion.recipes import CONVERTER, Choice
from conversion.source import plan_conversion
from conversion.workplace import OnBytes
from mirror.blobs import BlobStore
from registry.models import Commit, Yardstick

MAX_PARENT_BYTES = 16 * 2**30
"""A larger parent takes too long to requantise for the sake of one comparison: its files are held against a yardstick
only if one of them was made here by the plain recipe."""

WHOLE = ("verified", "damaged")
"""Verdicts that rest on all of the texts; with fewer layers or texts the figures would be others."""


class _TooSlow(Exception):
    """A yardstick is not worth the whole slice."""


def file_type_of(look: Look) -> FileType | None:
    """The quantised file type that a GGUF is of, by what most of its weights are; None for anything else.

    It says so itself where that agrees; else it is the type that people mean by the bare name, as Q4_K_M by Q4_K.
    """
    if look.header is None:
        return None
    kind, number = main_type(look.weights.entries.values()), look.header.get("general.file_type")
    said = next((one for one in FILE_TYPES.values() if one.number == number), None)
    if said is not None and said.default == kind:
        found = said
    else:
        found = FILE_TYPES.get(ALIASES.get(kind, kind)) or FILE_TYPES["F32"]
    return found if found.quantised else None


def yardstick_key(reading_key: str, file_type: str) -> str:
    """sha256 over all that the figures depend on: the parent as it was read, and how we requantise it."""
    parts = {"reading": reading_key, "file_type": file_type, "converter": CONVERTER, "rules": RULES}
    return hashlib.sha256(canonical_json(parts)).hexdigest()


@dataclass(frozen=True)
class Bench:
    """Where yardsticks of one parent are looked up and made: `reference` has the reading that they are measured by."""

    store: BlobStore
    parent: Commit
    reference: Reference
    folder: Path
    threads: int
    max_seconds: float
    on_bytes: OnBytes
    on_progress: OnProgress
    record: Callable[[Yardstick], None]

    def measure(self, choice: Choice) -> Measure | None:
        """How far our own of that type is: remembered, or made now. None where it cannot be made or judged."""
        if self.reference.reading is None:
            return None
        key = yardstick_key(self.reference.reading.key, choice.file_type.name)
        row = Yardstick.objects.filter(key=key).first()
        if row is not None:
            return Measure(row.file_type, row.converter, Figures(**row.figures))
        if self.parent.size_bytes > MAX_PARENT_BYTES:
            return None
        report = self._judge_our_own(choice)
        if report is None or report.figures is None or report.verdict not in WHOLE:
            return None
        self.record(row_of(key, self.parent, choice.file_type.name, report))
        return Measure(choice.file_type.name, CONVERTER, report.figures)

    def _judge_our_own(self, choice: Choice) -> Report | None:
        """None when it takes longer than `max_seconds`: then there is no relative gate, rather than no verdict."""
        path, home = self.folder / f"own-{choice.file_type.name}.gguf", self.folder / "yardstick"
        on_time = _Clock(self.max_seconds)
        home.mkdir()
        try:
            plan, weights = plan_conversion(self.store, self.parent, choice, home)
            with path.open("wb") as target:
                for piece in file_pieces(plan, weights):
                    target.write(piece.data)
                    on_time(self.on_bytes, len(piece.data))
            return judge(
                path, replace(self.reference, yardstick=None, tensors=None), threads=self.threads,
                on_progress=lambda phase, share: on_time(self.on_progress, phase, share),
            )  # fmt: skip
        except (HeaderError, NamingError, NoImatrix, QuantError, _TooSlow):
            return None  # also a type that needs an importance matrix, or a parent that is quantised itself
        finally:
            path.unlink(missing_ok=True)


class _Clock:
    """Passes calls on until its time is over; then it raises _TooSlow."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def __call__(self, tell: Callable[..., None], *what: object) -> None:
        tell(*what)
        if time.monotonic() > self._deadline:
            raise _TooSlow


def row_of(key: str, parent: Commit, file_type: str, report: Report) -> Yardstick:
    """The row, not saved, for what was measured of our plain requantisation. `report` must have figures."""
    assert report.figures is not None  # noqa: S101  # the caller looked
    figures = report.figures
    return Yardstick(
        key=key, parent=parent, file_type=file_type, converter=CONVERTER, engine=report.engine[:100],
        limits_version=read_limits().version, mean_kld=figures.mean_kld, kld_error=figures.kld_error,
        figures=figures.as_json(),
    )  # fmt: skip


def keep_yardstick(row: Yardstick) -> None:
    """The row is there, be it this one or one that another worker was faster with. In a transaction."""
    Yardstick.objects.bulk_create([row], ignore_conflicts=True)
