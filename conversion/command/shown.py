"""What a person, or a program, is shown: tables of plans, closing lines, JSON."""

import json
from collections import Counter
from typing import Any

from conversion.command.planning import Job, Made


def as_json(job: Job, *, with_tensors: bool) -> str:
    """A list with an object per type asked for."""
    return json.dumps([_object(one, with_tensors=with_tensors) for one in job.made], indent=1)


def _object(made: Made, *, with_tensors: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": made.type_name,
        "size_bytes": made.size_bytes,
        "files": [
            {"path": str(output.path), "size_bytes": output.plan.layout.size_bytes} for output in made.outputs
        ],
        "tensor_types": _counted(made),
    }
    if made.said:
        shown["said"] = list(made.said)
    if made.lacks:
        shown["needs_imatrix"] = {"tensor": made.lacks[0], "type": made.lacks[1]}
    if with_tensors:
        shown["tensors"] = [
            {"name": entry.name, "type": entry.dtype, "shape": entry.shape, "size_bytes": entry.length,
             "source": target.origin}
            for output in made.outputs
            for target, entry in zip(output.plan.targets, output.plan.layout.entries, strict=True)
        ]  # fmt: skip
    return shown


def _counted(made: Made) -> dict[str, int]:
    kinds = Counter(entry.dtype for output in made.outputs for entry in output.plan.layout.entries)
    return dict(sorted(kinds.items()))


def print_plans(job: Job) -> None:
    """A table of tensors for each type, and the resulting size, on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for made in job.made:
        for output in made.outputs:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(output.path.name))
            table.add_column("tensor")
            table.add_column("type")
            table.add_column("shape", justify="right")
            table.add_column("bytes", justify="right")
            for entry in output.plan.layout.entries:
                shape = " x ".join(map(str, entry.shape))
                table.add_row(Text(entry.name), entry.dtype, shape, f"{entry.length:,}")
            console.print(table)
        print_line(f"{closing(made)}; nothing was made")
        if made.lacks:
            print_line(
                f"{made.type_name} needs an importance matrix: {made.lacks[0]} becomes {made.lacks[1]}"
            )


def closing(made: Made) -> str:
    """One line: where, how large, how many tensors of which type."""
    counted = ", ".join(f"{number} {name}" for name, number in _counted(made).items())
    first = made.outputs[0].path
    where = str(first) if len(made.outputs) == 1 else f"{len(made.outputs)} files in {first.parent}"
    return f"{where}: {made.size_bytes:,} bytes, {counted}"


def print_line(text: str) -> None:
    import sys

    sys.stdout.write(text + "\n")
