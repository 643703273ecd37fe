"""Which files of a repo a variant means.

A repo of GGUF files usually holds one file (or one set of shards) per quantization type; the type is read from the file
name as every such repo spells it: `model-Q4_K_M.gguf`, `model.IQ3_XXS.gguf`, `Q8_0/model-00001-of-00002.gguf`. A format
(`safetensors`) means the whole repo without the weights of other formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.errors import BadAnswer
from holdfast.sources.remote import Choice, RemoteFile

_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
_TYPE = r"(?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP\d\w*|NVFP\d\w*|BF16|F16|F32|FP16|FP32)"
_TYPE_AT_END = re.compile(rf"(?:^|[-._/])({_TYPE})$", re.IGNORECASE)
_TYPE_ANYWHERE = re.compile(rf"(?:^|[-._/])({_TYPE})(?=[-./]|$)", re.IGNORECASE)
_COMPANION = re.compile(r"(^|[-._/])(mmproj|imatrix)", re.IGNORECASE)
_INDEX = ".index.json"
_WEIGHTS_BY_FORMAT = {
    "safetensors": (".safetensors",),
    "gguf": (".gguf",),
    "pytorch": (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"),
    "onnx": (".onnx", ".onnx_data", ".onnx.data"),
    "other": (".h5", ".msgpack", ".ot", ".tflite", ".mlmodel", ".nemo", ".llamafile", ".npz"),
}
FORMATS = ("safetensors", "pytorch", "onnx")


@dataclass
class Group:
    """One GGUF model: a file, or its shards in order."""

    variant: str
    stem: str
    files: list[RemoteFile] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def answers_to(self, variant: str) -> bool:
        """By type, by name, or by path, whatever the case."""
        names = (
            self.variant,
            self.stem,
            self.stem.rpartition("/")[2],
            self.files[0].path,
            f"{self.stem}.gguf",
        )
        return variant.casefold() in {name.casefold() for name in names}


def gguf_groups(files: Sequence[RemoteFile]) -> list[Group]:
    """Every GGUF model of the repo, sorted by size. Projectors and importance matrices are not models."""
    groups: dict[str, Group] = {}
    for file in sorted(files, key=lambda file: file.path):
        if not file.path.lower().endswith(".gguf") or _COMPANION.search(file.path):
            continue
        stem = _stem(file.path)
        groups.setdefault(stem, Group(_variant_of(stem), stem)).files.append(file)
    return sorted(groups.values(), key=lambda group: (group.size_bytes, group.stem))


def _stem(path: str) -> str:
    """The path without `.gguf` and without a shard's number."""
    stem = path[: -len(".gguf")]
    match = _SHARD.match(stem)
    return match.group("stem") if match else stem


def _variant_of(stem: str) -> str:
    """The quantization type in the name, else in the folder's name, else the name."""
    folder, _slash, name = stem.rpartition("/")
    for text in (name, folder):
        found = _TYPE_AT_END.findall(text) or _TYPE_ANYWHERE.findall(text)
        if found:
            return str(found[-1]).upper()
    return name


def check_shards(group: Group, listed_by: str) -> None:
    """Raises BadAnswer if the listing lacks a shard, because the model could not be loaded."""
    matches = [_SHARD.match(file.path[: -len(".gguf")]) for file in group.files]
    numbers = {int(match.group("number")) for match in matches if match}
    counts = {int(match.group("count")) for match in matches if match}
    if counts and (len(counts) > 1 or numbers != set(range(1, max(counts) + 1))):
        raise BadAnswer(
            f"{listed_by} lists {len(numbers)} of {max(counts)} shards of {group.stem}",
            hint="The upload is not complete. Pull single files with //path, or another variant.",
            name=listed_by,
        )


def formats_of(files: Sequence[RemoteFile]) -> list[str]:
    """The formats, apart from GGUF, that the repo has weights in."""
    return [name for name in FORMATS if any(_is_format(file.path, name) for file in files)]


def files_of_format(files: Sequence[RemoteFile], wanted: str) -> list[RemoteFile]:
    """The whole repo without the weights of other formats."""
    others = [name for name in _WEIGHTS_BY_FORMAT if name != wanted]
    return [file for file in files if not any(_is_format(file.path, name) for name in others)]


def format_of(path: str) -> str | None:
    """The format of the weights in a file of that name; None if it holds none."""
    if path.lower().endswith(_INDEX):
        return None
    return next((name for name in _WEIGHTS_BY_FORMAT if _is_format(path, name)), None)


def is_weights(path: str) -> bool:
    """Whether a file of that name holds weights."""
    return format_of(path) is not None


def _is_format(path: str, name: str) -> bool:
    lowered = path.lower()
    lowered = lowered[: -len(_INDEX)] if lowered.endswith(_INDEX) else lowered
    return lowered.endswith(_WEIGHTS_BY_FORMAT[name])


def choices_of(repo_id: str, files: Sequence[RemoteFile]) -> list[Choice]:
    """Everything that may follow the colon for this repo."""
    found = [
        Choice(group.variant, repo_id, group.files[0].path, group.size_bytes) for group in gguf_groups(files)
    ]
    for name in formats_of(files):
        size = sum(file.size_bytes for file in files_of_format(files, name))
        found.append(Choice(name, repo_id, "", size))
    return found
