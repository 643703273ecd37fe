"""A LoRA adapter as PEFT saves it: adapter_config.json and the weights beside it."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.formats.lora import Adapter, open_adapter
from conversion.formats.opening import open_weights
from conversion.formats.source import FileSource

CONFIG = "adapter_config.json"
MAX_CONFIG_BYTES = 10_000_000
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def open_adapter_folder(folder: Path, at_end: ExitStack) -> Adapter:
    """The adapter in that folder; its file stays open until the stack ends. HeaderError `lora-…`."""
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise HeaderError("lora-missing", f"{folder} has neither {' nor '.join(WEIGHTS)}")
    weights = open_weights({path.name: at_end.enter_context(FileSource(path))})
    return open_adapter(weights, read_adapter_config(folder))


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json as a dict. HeaderError `lora-config`."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise HeaderError("lora-config", f"it is longer than {MAX_CONFIG_BYTES} bytes", CONFIG)
        data = path.read_bytes()
    except OSError as error:
        raise HeaderError("lora-config", f"it cannot be read: {str(error)[:200]}", str(path)) from error
    return parse_adapter_config(data)


def parse_adapter_config(data: bytes) -> dict[str, Any]:
    """An adapter_config.json's bytes as a dict. HeaderError `lora-config`."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HeaderError("lora-config", f"it cannot be read: {str(error)[:200]}", CONFIG) from error
    if not isinstance(config, dict):
        raise HeaderError("lora-config", "it is not an object", CONFIG)
    return config
