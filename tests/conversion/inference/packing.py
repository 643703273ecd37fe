"""A checkpoint of the sample family in GPTQ, made here by rounding to nearest: real enough to be judged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.safetensors import plan_file
from conversion.formats.source import FileSource
from tests.conversion.inference.ggufs import BASE

GROUP = 64


def to_zeros(rows: np.ndarray) -> np.ndarray:
    return rows * 0


def write_gptq(
    folder: Path, bits: int = 4, spoilt: str = "", change: Callable[[np.ndarray], np.ndarray] = to_zeros
) -> Path:
    """The base with its layers' matrices in GPTQ, groups of 64 inputs; names beginning with `spoilt` are changed."""
    shutil.copytree(BASE, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": GROUP,
        "checkpoint_format": "gptq",
    }
    (folder / "config.json").write_text(json.dumps(config))
    arrays: dict[str, np.ndarray] = {}
    with FileSource(BASE / "model.safetensors") as source:
        weights = open_checkpoint({"model.safetensors": source})
        for name, entry in weights.entries.items():
            rows = weights.rows(name, 0, int(np.prod(entry.shape[:-1]))).reshape(entry.shape)
            if len(entry.shape) == 2 and ".layers." in name:
                rows = change(rows) if spoilt and name.startswith(spoilt) else rows
                arrays |= _packed(name.removesuffix(".weight"), rows, bits)
            else:
                arrays[name] = rows
    kinds = {"float32": "F32", "float16": "F16", "int32": "I32"}
    layout = plan_file([(name, array.shape, kinds[str(array.dtype)]) for name, array in arrays.items()])
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    (folder / "model.safetensors").write_bytes(layout.header_bytes + data)
    return folder


def _packed(name: str, weight: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """weight (out, in) as qweight, qzeros, scales and g_idx; zero is the middle."""
    n_out, n_in = weight.shape
    middle = 1 << (bits - 1)
    groups = weight.T.reshape(n_in // GROUP, GROUP, n_out)
    scales = np.maximum(np.abs(groups).max(axis=1) / (middle - 1), 1e-6).astype(np.float16)
    quants = np.clip(np.round(groups / scales[:, None].astype(np.float32)) + middle, 0, 2 * middle - 1)
    zeros = np.full((n_in // GROUP, n_out), middle - 1)  # stored less one, as GPTQ does
    return {
        f"{name}.qweight": _side_by_side(quants.reshape(n_in, n_out).T, bits).T,
        f"{name}.qzeros": _side_by_side(zeros, bits),
        f"{name}.scales": scales,
        f"{name}.g_idx": (np.arange(n_in) // GROUP).astype(np.int32),
    }


def _side_by_side(values: np.ndarray, bits: int) -> np.ndarray:
    """int32 (rows, cols * bits / 32), lowest bits first."""
    per_number = 32 // bits
    parts = values.astype(np.uint32).reshape(len(values), -1, per_number)
    return np.bitwise_or.reduce(parts << (bits * np.arange(per_number, dtype=np.uint32)), axis=2).view(
        np.int32
    )
