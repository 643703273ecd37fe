"""What exactly each artifact is: deterministic names and digests.

A recipe's content is everything that, together with the source commit, determines the artifact's bytes. Its digest
is the sha256 of that content as canonical JSON, so equal recipes have equal digests on every machine, for ever. Change
how bytes come out and `CONVERTER` must change with it.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from conversion.naming import NamingError
from conversion.naming.file_types import RULES, FileType, file_type_by_name
from conversion.naming.overrides import Overrides
from registry.models import Commit, Recipe

CONVERTER = "holdfast-conversion/2"
FORMAT = "gguf"


@dataclass(frozen=True)
class Choice:
    """What to make of a commit: a file type and what a person asks beyond it.

    `imatrix` is the sha256 of an importance matrix, or "". `source_path` names one GGUF of a commit that has several;
    `requantises` allows one that is quantised already.
    """

    file_type: FileType
    overrides: Overrides = field(default_factory=Overrides)
    imatrix: str = ""
    source_path: str = ""
    requantises: bool = False

    @classmethod
    def of(cls, name: str) -> "Choice":
        """The file type of that name and nothing else; NamingError `unknown-file-type`."""
        return cls(file_type_by_name(name))

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> "Choice":
        """What a recipe's content asks for. Raises NamingError `other-converter` if this program gives other bytes."""
        made_by = (content.get("converter"), content.get("rules"), content.get("format"))
        if made_by != (CONVERTER, RULES, FORMAT):
            raise NamingError(
                "other-converter",
                f"the recipe is for {', '.join(map(str, made_by))}, and this is {CONVERTER}, {RULES}, {FORMAT}. "
                "Run the release that made it.",
            )
        return cls(
            file_type_by_name(content["file_type"]),
            Overrides.from_json(content.get("overrides", {})),
            content.get("imatrix") or "",
            content.get("source_path", ""),
            content.get("requantises", False),
        )

    def content(self) -> dict[str, Any]:
        """All that determines the output but the source commit; what is not asked for is left out or empty."""
        content: dict[str, Any] = {
            "converter": CONVERTER,
            "file_type": self.file_type.name,
            "format": FORMAT,
            "imatrix": self.imatrix or None,
            "overrides": self.overrides.as_json(),
            "rules": RULES,
        }
        if self.source_path:
            content["source_path"] = self.source_path
        if self.requantises:
            content["requantises"] = True
        return content

    @property
    def digest(self) -> str:
        return recipe_digest(self.content())

    @property
    def is_plain(self) -> bool:
        """Nothing but the file type; a source that leaves no choice does not make it less plain."""
        return replace(self, source_path="", requantises=False) == Choice(self.file_type)

    @property
    def name(self) -> str:
        """What people call it: `Q4_K_M`, or `Q4_K_M-1a2b3c4d` when more than the file type was asked for."""
        return self.file_type.name if self.is_plain else f"{self.file_type.name}-{self.digest[:8]}"

    def row(self) -> Recipe:
        """The recipe's row, made when it is used for the first time."""
        row, _ = Recipe.objects.get_or_create(
            digest=self.digest, defaults={"name": self.name, "format": FORMAT, "content": self.content()}
        )
        return row

    def path(self, commit: Commit) -> str:
        """The file's name as users know it: `<model name>-<recipe>.gguf`."""
        return f"{commit.repo.name}-{self.name}.gguf"


def recipe_digest(content: dict[str, Any]) -> str:
    """sha256 of the canonical JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_by_digest(digest: str) -> Recipe:
    """The row of that digest. Raises Recipe.DoesNotExist."""
    return Recipe.objects.get(digest=digest)
