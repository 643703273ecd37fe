"""Families whose tensors only change their names."""

from collections.abc import Callable

import gguf

from conversion.naming.base import Config, Shapes, Target, read_count
from conversion.naming.renaming import BUFFERS, renamer


def renamed_targets(architecture: gguf.MODEL_ARCH) -> Callable[[Config, Shapes], list[Target]]:
    """The `targets` of such a family: every tensor of the checkpoint in its order."""

    def targets(config: Config, shapes: Shapes) -> list[Target]:
        rename = renamer(architecture, read_count(config, "num_hidden_layers"))
        return [
            Target(rename(name), shape, name) for name, shape in shapes.items() if not name.endswith(BUFFERS)
        ]

    return targets
