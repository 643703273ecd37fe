"""PyTorch checkpoints, read without PyTorch and without unpickling: see `machine.py` for what that means.

Files, from the bottom up: `stream` (bytes), `views` (storages and tensors), `allowed` (the globals), `machine` (the
opcodes), `archive` (the zip), `file` (zip or legacy), `state_dict` (names), `weights` (the checkpoint).
"""

from conversion.formats.pytorch.file import SNIFF_BYTES, TorchFile, is_pytorch, read_file
from conversion.formats.pytorch.weights import NOT_WEIGHTS, TorchWeights, open_pytorch, read_entries

__all__ = [
    "NOT_WEIGHTS",
    "SNIFF_BYTES",
    "TorchFile",
    "TorchWeights",
    "is_pytorch",
    "open_pytorch",
    "read_entries",
    "read_file",
]
