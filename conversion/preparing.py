"""What a judge needs beside the file: the parent's reading, its tensors, and our own yardstick, each made only once.

A language model is compared with what its parent was heard to say; any other kind, and a parent that cannot be read on
this machine, is given the parent itself, as a file that the judge runs or refuses.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.conf import settings
from django.db import transaction

from conversion.cases import Case
from conversion.formats.errors import HeaderError
from conversion.inference.checks.trial import OnProgress, Reference
from conversion.inference.engine import EngineError
from conversion.inference.fitting import seconds_to_run
from conversion.inference.limits import Yardstick as Measure
from conversion.inference.readings import Reading, make_reading, reading_key
from conversion.inference.report import Report
from conversion.inference.selftest import check_engine
from conversion.inference.strings import read_strings
from conversion.inference.subjects import Look, look_at, subject_of
from conversion.kept import keep_reading, stored_reading
from conversion.naming import NamingError
from conversion.recipes import CONVERTER, Choice
from conversion.reference import Parent, adapter_reference, open_parent
from conversion.workplace import OnBytes
from conversion.yardsticks import Bench, file_type_of, keep_yardstick, row_of, yardstick_key
from mirror.blobs import BlobStore
from registry.models import Yardstick
from registry.work import Lease

DECODER = "decoder"
YARDSTICK_SHARE = 0.3
"""Of a slice, for making and judging our own requantisation; without it the absolute limits still hold."""

RUNNING_SHARE = 0.7
"""Of a slice: what would take engines longer is judged by its first layers, instead of not at all."""


def most_seconds() -> float:
    """What engines may take for one judgement."""
    return RUNNING_SHARE * settings.HOLDFAST_SLICE_SECONDS


@dataclass
class Preparation:
    """The reference of one case, as it is being got together in the job's own folder."""

    lease: Lease
    case: Case
    store: BlobStore
    folder: Path
    on_bytes: OnBytes
    on_progress: OnProgress
    _own: tuple[str, str] | None = field(init=False, default=None)

    def reference(self, path: Path) -> Reference | None:
        """What to judge the file at `path` against; None where no parent is known. Raises ReferenceUnavailable."""
        if self.case.parent is None:
            return None
        case = self.case
        if case.base is not None:
            return adapter_reference(self.store, self.case.parent, case.base, self.folder, self.on_bytes)
        parent = open_parent(self.store, self.case.parent, self.folder, case.source_path, case.adapter)
        with ExitStack() as stack:
            look = _look(path, stack)
            if look is None:  # no engine will see it: the judge says what is wrong with its header
                return parent.unbuilt()
            reference = self._speaking(parent, look)
            tensors = parent.tensors(of_gguf=look.header is not None)
            is_plain = case.plain_choice is not None
            reference = replace(reference, tensors=tensors, is_plain=is_plain, relation=case.relation)
            return replace(reference, yardstick=self._yardstick(reference, look))

    def _speaking(self, parent: Parent, look: Look) -> Reference:
        is_decoder = subject_of(look).kind == DECODER
        is_slow = is_decoder and _seconds_to_run(look) > most_seconds()
        if is_decoder and (reading := self._reading(parent, may_make=not is_slow)):
            return replace(parent.unbuilt(), reading=reading)
        # What a slice leaves no time for is judged by its first layers, which are cut from the parent's tensors, or, in
        # another container than GGUF, by its tensors alone.
        return parent.unbuilt() if is_slow else parent.build(self.on_bytes)

    def _reading(self, parent: Parent, *, may_make: bool = True) -> Reading | None:
        """Remembered, or made now; None when this machine cannot: then the judge meets the same, and reports it."""
        threads = settings.HOLDFAST_ENGINE_THREADS
        try:
            key = reading_key(parent.digests, check_engine(parent.engine, threads))
            if reading := stored_reading(self.store, key):
                return reading
            if not may_make:
                return None
            reading = make_reading(
                parent.build(self.on_bytes), parent.digests, threads=threads, strings=read_strings(),
                memory_bytes=settings.HOLDFAST_ENGINE_MEMORY_BYTES, on_progress=self.on_progress,
            )  # fmt: skip
        except EngineError:
            return None
        keep_reading(self.lease, self.store, parent.commit, reading)
        return reading

    def _yardstick(self, reference: Reference, look: Look) -> Measure | None:
        """How far our own plain requantisation is; of that itself, that it is the one."""
        file_type = file_type_of(look)
        if file_type is None or reference.reading is None or self.case.parent is None:
            return None
        plain = self.case.plain_choice
        if plain is not None and plain.file_type == file_type:
            self._own = (yardstick_key(reference.reading.key, file_type.name), file_type.name)
            return Measure(file_type.name, CONVERTER)
        bench = Bench(
            self.store, self.case.parent, reference, self.folder, settings.HOLDFAST_ENGINE_THREADS,
            YARDSTICK_SHARE * settings.HOLDFAST_SLICE_SECONDS, self.on_bytes, self.on_progress, self._record,
        )  # fmt: skip
        return bench.measure(Choice(file_type, source_path=self.case.source_path))

    def keep_own_figures(self, report: Report) -> None:
        """If what was judged is our plain requantisation, others are held against its figures. Idempotent."""
        if self._own and report.figures and self.case.parent:
            self._record(row_of(self._own[0], self.case.parent, self._own[1], report))

    def _record(self, row: Yardstick) -> None:
        with transaction.atomic():
            self.lease.guard()
            keep_yardstick(row)


def _seconds_to_run(look: Look) -> float:
    try:
        weights = look.plain
    except HeaderError:  # the judge will say so
        return 0.0
    return seconds_to_run(weights, settings.HOLDFAST_ENGINE_THREADS)


def _look(path: Path, stack: ExitStack) -> Look | None:
    try:
        return look_at(path, stack)
    except (HeaderError, NamingError):
        return None
