"""Which artifacts a commit should have, and what exactly each of them is: deterministic names and digests.

A recipe's content is everything that, together with the source commit, determines the artifact's bytes. Its digest
is the sha256 of that content as canonical JSON, so equal recipes have equal digests on every machine, for ever. Change
how bytes come out and `CONVERTER` must change with it.
"""

import hashlib
import json
from typing import Any

from django.conf import settings

from conversion.naming import UnsupportedArchitecture, family_for
from conversion.naming.file_types import RULES, FileType, file_type_by_name
from registry.models import Commit, Recipe

CONVERTER = "holdfast-conversion/1"
FORMAT = "gguf"


def recipe_content(file_type: FileType) -> dict[str, Any]:
    """All that determines the output but the source: format, file type, the rules for types, the converter."""
    return {
        "converter": CONVERTER,
        "file_type": file_type.name,
        "format": FORMAT,
        "imatrix": None,
        "overrides": {},
        "rules": RULES,
    }


def recipe_digest(content: dict[str, Any]) -> str:
    """sha256 of the canonical JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(file_type: FileType) -> str:
    return recipe_digest(recipe_content(file_type))


def recipe_row(file_type: FileType) -> Recipe:
    """The recipe's row, made when it is used for the first time."""
    content = recipe_content(file_type)
    row, _ = Recipe.objects.get_or_create(
        digest=recipe_digest(content),
        defaults={"name": file_type.name, "format": FORMAT, "content": content},
    )
    return row


def artifact_path(commit: Commit, file_type: FileType) -> str:
    """The file's name as users know it: `<model name>-<file type>.gguf`."""
    return f"{commit.repo.name}-{file_type.name}.gguf"


def wanted_recipes(commit: Commit) -> list[FileType]:
    """What HOLDFAST_AUTO_CONVERT asks for, if the commit is a checkpoint that can be converted. At most one query.

    Asks the facts that inspection wrote down; of a commit that was not inspected nothing is wanted yet.
    """
    wanted = [file_type_by_name(name) for name in settings.HOLDFAST_AUTO_CONVERT]
    return wanted if wanted and _is_supported(commit) and has_weights(commit) else []


def _is_supported(commit: Commit) -> bool:
    try:
        family_for(commit.facts.get("config") or {})
    except UnsupportedArchitecture:
        return False
    return True


def has_weights(commit: Commit) -> bool:
    """Whether safetensors lie at the top of the commit. One query."""
    return commit.files.filter(path__endswith=".safetensors").exclude(path__contains="/").exists()
