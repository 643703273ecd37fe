"""`general.*`: name, size label, licence, tags and the rest, as the reference converter reads them from a repo.

The gguf package's own heuristics do the reading, from the folder's name, config.json, generation_config.json and the
front matter of README.md; so a file made here says the same of itself as one made by the reference.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import yaml

from conversion.naming.base import NamingError, Target

logging.getLogger("metadata").setLevel(logging.CRITICAL)  # its warnings are for people at a terminal


def describe_general(folder: Path, targets: Sequence[Target], writer: gguf.GGUFWriter) -> None:
    """`general.type`, `general.name`, `general.size_label` and whatever the repo's own files say."""
    counts = count_parameters(targets)
    writer.add_type(gguf.GGUFType.MODEL)
    try:
        metadata = gguf.Metadata.load(model_path=folder, total_params=counts[0])
        if metadata.name is None:
            metadata.name = folder.name
        if metadata.size_label is None and counts[0]:
            metadata.size_label = gguf.size_label(*counts)
        if metadata.sampling_penalty_repeat is None:
            # The gguf package's 0.19 does not know this spelling, the reference converter does.
            metadata.sampling_penalty_repeat = read_penalty(folder)
        metadata.set_gguf_meta_model(writer)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise NamingError(
            "bad-model-card", f"README.md or generation_config.json cannot be read: {str(error)[:200]}"
        ) from error


def count_parameters(targets: Sequence[Target]) -> tuple[int, int, int, int]:
    """All parameters, those every token meets, those of one expert, and how many experts a layer has on average."""
    total = sum(target.n_elements for target in targets)
    stacks = [target for target in targets if "_exps." in target.name and len(target.shape) >= 3]
    n_experts = [target.shape[-2 if ".bias" in target.name else -3] for target in stacks]
    of_one = sum(target.n_elements // n for target, n in zip(stacks, n_experts, strict=True))
    shared = total - sum(target.n_elements for target in stacks)
    return total, shared, of_one, sum(n_experts) // len(stacks) if stacks else 0


def read_penalty(folder: Path) -> Any:
    """`repetition_penalty` of generation_config.json, if there is one."""
    generation = gguf.Metadata.load_generation_config(folder)
    return generation.get("repetition_penalty") if isinstance(generation, dict) else None
