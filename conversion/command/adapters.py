"""LoRA adapters on this machine: merged into a base that is converted, or made a GGUF of their own."""

from contextlib import ExitStack
from pathlib import Path

from conversion.formats.lora import MergedWeights, open_adapter
from conversion.formats.lora_folder import open_adapter_folder, read_adapter_config
from conversion.formats.packed import unpack
from conversion.formats.weights import Weights
from conversion.naming.adapter import plan_adapter
from conversion.naming.base import NamingError
from conversion.naming.file_types import FileType
from conversion.naming.plan import read_config
from conversion.naming.settling import Plan


def merged(base: Weights, folder: Path, adapter: Path, at_end: ExitStack) -> MergedWeights:
    """The base in `folder` with the adapter merged in; a packed base is unpacked for it. HeaderError `lora-…`."""
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    return MergedWeights(unpack(base, config), open_adapter_folder(adapter, at_end))


def plan_own_gguf(weights: Weights, folder: Path, base: str, file_type: FileType) -> Plan:
    """The adapter in `folder` as a GGUF of its own, for llama.cpp's --lora. NamingError `adapter-…`."""
    if not base:
        raise NamingError(
            "adapter-base",
            f"{folder} is a LoRA adapter. Name the folder of its base with --base to make a GGUF adapter, or convert "
            "the base with --adapter to merge it.",
        )
    return plan_adapter(
        open_adapter(weights, read_adapter_config(folder)), folder, read_config(Path(base)), file_type
    )
