"""`general.*`: name, size label, licence, tags and the rest, as the reference converter reads them from a repo.

The gguf package's own heuristics do the reading, from the folder's name, config.json, generation_config.json and the
front matter of README.md; so a file made here says the same of itself as one made by the reference.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import gguf
import yaml

from conversion.naming.base import NamingError, Target

logging.getLogger("metadata").setLevel(logging.CRITICAL)  # its warnings are for people at a terminal


def describe_general(folder: Path, targets: Sequence[Target], writer: gguf.GGUFWriter) -> None:
    """`general.type`, `general.name`, `general.size_label` and whatever the repo's own files say."""
    n_parameters = sum(target.n_elements for target in targets)
    writer.add_type(gguf.GGUFType.MODEL)
    try:
        metadata = gguf.Metadata.load(model_path=folder, total_params=n_parameters)
        if metadata.name is None:
            metadata.name = folder.name
        if metadata.size_label is None and n_parameters:
            metadata.size_label = gguf.size_label(n_parameters, n_parameters, 0, 0)
        metadata.set_gguf_meta_model(writer)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise NamingError(
            "bad-model-card", f"README.md or generation_config.json cannot be read: {str(error)[:200]}"
        ) from error
