"""LoRA adapters on this machine: merged into a base that is converted, or made a GGUF of their own."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.formats.lora import Adapter, MergedWeights, open_adapter
from conversion.formats.opening import open_weights
from conversion.formats.packed import unpack
from conversion.formats.source import FileSource
from conversion.formats.weights import Weights
from conversion.naming.adapter import plan_adapter
from conversion.naming.base import NamingError
from conversion.naming.file_types import FileType
from conversion.naming.plan import read_config
from conversion.naming.settling import Plan

CONFIG = "adapter_config.json"
MAX_CONFIG_BYTES = 10_000_000
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def merged(base: Weights, folder: Path, adapter: Path, at_end: ExitStack) -> MergedWeights:
    """The base in `folder` with the adapter merged in; a packed base is unpacked for it. HeaderError `lora-…`."""
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    return MergedWeights(unpack(base, config), opened_adapter(adapter, at_end))


def opened_adapter(folder: Path, at_end: ExitStack) -> Adapter:
    """The adapter in a folder as PEFT saves it; its file stays open for as long."""
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise HeaderError("lora-missing", f"{folder} has neither {' nor '.join(WEIGHTS)}")
    weights = open_weights({path.name: at_end.enter_context(FileSource(path))})
    return open_adapter(weights, _config(folder))


def plan_own_gguf(weights: Weights, folder: Path, base: str, file_type: FileType) -> Plan:
    """The adapter in `folder` as a GGUF of its own, for llama.cpp's --lora. NamingError `adapter-…`."""
    if not base:
        raise NamingError(
            "adapter-base",
            f"{folder} is a LoRA adapter. Name the folder of its base with --base to make a GGUF adapter, or convert "
            "the base with --adapter to merge it.",
        )
    return plan_adapter(open_adapter(weights, _config(folder)), folder, read_config(Path(base)), file_type)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise HeaderError("lora-config", f"it is longer than {MAX_CONFIG_BYTES} bytes", CONFIG)
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise HeaderError("lora-config", f"it cannot be read: {str(error)[:200]}", str(path)) from error
    if not isinstance(config, dict):
        raise HeaderError("lora-config", "it is not an object", str(path))
    return config
