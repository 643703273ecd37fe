"""A planned GGUF cut into the parts that llama-gguf-split makes of it, so that the whole is never written."""

from dataclasses import dataclass, replace

from conversion.formats.gguf.splitting import plan_split
from conversion.naming.base import NamingError
from conversion.naming.settling import Plan


@dataclass(frozen=True)
class Split:
    """Where a part ends: before the tensor that would take it beyond `max_bytes`, or after `max_tensors`; one of them.

    `no_tensor_first` leaves the first part with metadata alone.
    """

    max_bytes: int = 0
    max_tensors: int = 0
    no_tensor_first: bool = False


def split_plan(plan: Plan, stem: str, split: Split) -> dict[str, Plan]:
    """The parts, `STEM-00001-of-0000N.gguf` and so on; NamingError `too-many-parts`."""
    tensors = [(entry.name, entry.shape, entry.dtype) for entry in plan.layout.entries]
    try:
        parts = plan_split(
            plan.metadata, tensors, stem, max_bytes=split.max_bytes, max_tensors=split.max_tensors,
            no_tensor_first=split.no_tensor_first, alignment=plan.layout.alignment,
        ).parts  # fmt: skip
    except ValueError as error:
        raise NamingError("too-many-parts", f"{error}. Choose larger parts.") from error
    filling = {target.name: target for target in plan.targets}
    return {
        path: replace(plan, layout=layout, targets=tuple(filling[entry.name] for entry in layout.entries))
        for path, layout in parts.items()
    }
