"""llama-quantize's loop over ggml's quantisers, for machines where llama-quantize itself is not built."""

from pathlib import Path

import numpy as np

from benchmarks._ggml import Ggml
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.source import FileSource
from conversion.naming.file_types import file_type_by_name
from conversion.naming.requantise import plan_requantised
from conversion.naming.settling import Wish


def requantise(source: str, target: str, kind: str) -> None:
    """The whole file, tensor by tensor: mapped, turned into float32 as a whole, quantised in C, written."""
    ggml = Ggml()
    with FileSource(Path(source)) as opened, Path(target).open("wb") as file:
        weights = open_gguf({"model.gguf": opened})
        plan = plan_requantised(weights.entries, weights.read_metadata(), Wish(file_type_by_name(kind)))
        mapped = np.memmap(source, dtype=np.uint8, mode="r")
        file.write(plan.layout.header_bytes)
        for entry in plan.layout.entries:
            stored = weights.entries[entry.name]
            data = mapped[stored.start : stored.end]
            file.seek(entry.start)
            if stored.dtype == entry.dtype:
                file.write(data)
                continue
            rows = (data.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
            file.write(ggml.quantizer(entry.dtype, rows.reshape(-1, entry.shape[-1]), None)())
        file.truncate(plan.layout.size_bytes)
