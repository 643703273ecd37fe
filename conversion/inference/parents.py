"""The parent's weights under the artifact's names, read as float32 when asked for; no file is written.

A GGUF's tensors have other names, shapes and orders of rows than its checkpoint's. The plan that a conversion to F32
follows says which rows make which tensor, so the same plan is read here, lazily, instead of being carried out.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from conversion.formats.errors import HeaderError
from conversion.formats.layout import TensorEntry
from conversion.formats.llama2c import Llama2cWeights
from conversion.formats.weights import Rows, Weights
from conversion.inference.engine import EngineError
from conversion.inference.subjects import look_at
from conversion.naming.base import NamingError, Target
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.planning import plan_from
from conversion.naming.settling import Plan, Wish
from conversion.naming.slabs import read_target
from conversion.quants import QuantError, dequantize


@dataclass(frozen=True)
class ParentTensors:
    """Tensors by name. `shapes` are row-major; `plan` is the F32 GGUF they would make, None for tensors as stored."""

    weights: Weights = field(repr=False)
    targets: Mapping[str, Target]
    plan: Plan | None = field(default=None, repr=False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: target.shape for name, target in self.targets.items()}

    @property
    def is_gguf(self) -> bool:
        """Whether the names are a GGUF's."""
        return self.plan is not None

    def rows_together(self, name: str) -> int:
        """Reading is cheapest in multiples of this many rows."""
        return self.targets[name].rows_together

    def rows(self, name: str, first: int, count: int) -> Rows:
        """float32 (count, n_cols). Rows that are arranged in groups are read in whole groups.

        Raises EngineError `parent-not-run` where they cannot be read: that is no fault of the artifact.
        """
        target = self.targets[name]
        together = target.rows_together
        start = first // together * together
        end = min(-(-(first + count) // together) * together, target.n_rows)
        try:
            with np.errstate(all="ignore"):
                rows = self._read(target, start, end)
        except (HeaderError, QuantError, OSError) as error:
            what = f"the parent's {target.origin} cannot be read: {error}"
            raise EngineError("parent-not-run", what) from error
        return rows[first - start : first - start + count]

    def _read(self, target: Target, start: int, end: int) -> Rows:
        if target.packed is None:
            return read_target(target, self.weights, start, end)
        data = target.packed.read(self.weights, start, end - start)
        return dequantize(np.frombuffer(data, np.uint8), target.packed.type_name, target.n_cols)


def planned_tensors(weights: Weights, folder: Path) -> ParentTensors:
    """The parent under a GGUF's names; `folder` holds its config and tokenizer.

    Raises NamingError and HeaderError for what cannot be converted.
    """
    plan, plain = plan_from(weights, folder, Wish(FILE_TYPES["F32"]), allow_requantize=True)
    return ParentTensors(plain, {target.name: target for target in plan.targets}, plan)


def stored_tensors(weights: Weights) -> ParentTensors:
    """The parent under its own names, for an artifact that has the same."""
    return ParentTensors(
        weights, {entry.name: _as_stored(entry) for entry in weights.entries.values() if entry.n_elements}
    )


def tensors_at(path: Path, stack: ExitStack, *, of_gguf: bool) -> ParentTensors | None:
    """Those of the GGUF or checkpoint at `path`, under the names of what is compared with it; its files stay open until
    the stack ends. None where it has no such names. Raises HeaderError."""
    look = look_at(path, stack)
    if not of_gguf:
        return stored_tensors(look.weights)
    if isinstance(look.weights, Llama2cWeights):  # its plan needs files that would have to be written first
        return None
    try:
        return planned_tensors(look.weights, path if path.is_dir() else path.parent)
    except NamingError:
        return None


def _as_stored(entry: TensorEntry) -> Target:
    """A scalar is one row of one value."""
    shape = entry.shape or (1,)
    return Target(entry.name, shape, entry.name)
