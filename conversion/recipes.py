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
from conversion.naming.file_types import FILE_TYPES, PLAIN, RULES, FileType, file_type_by_name
from conversion.naming.overrides import Overrides
from registry.models import Commit, Recipe

CONVERTER = "holdfast-conversion/2"
GGUF, SAFETENSORS = "gguf", "safetensors"
FORMATS = (GGUF, SAFETENSORS)
CHECKPOINT_NAMES = tuple(f"{SAFETENSORS}-{dtype}" for dtype in PLAIN)
"""What `--to` calls a checkpoint in safetensors, whose tensors are all of one dtype."""


@dataclass(frozen=True)
class Partner:
    """Another commit that an artifact is made of, beside its source: an adapter, or the base of one."""

    repo_id: str
    commit_hash: str

    @classmethod
    def of(cls, commit: Commit) -> "Partner":
        return cls(commit.repo.repo_id, commit.commit_hash)

    @classmethod
    def from_json(cls, content: dict[str, str] | None) -> "Partner | None":
        return cls(content["repo_id"], content["commit_hash"]) if content else None

    def as_json(self) -> dict[str, str]:
        return {"repo_id": self.repo_id, "commit_hash": self.commit_hash}


@dataclass(frozen=True)
class Choice:
    """What to make of a commit: a file type and what a person asks beyond it.

    `imatrix` is the sha256 of an importance matrix, or "". `source_path` names one GGUF of a commit that has several;
    `requantises` allows one that is quantised already. `format` SAFETENSORS makes one file of safetensors in the dtype
    that the file type names; the tensors of a GGUF get Hugging Face's names in it where they can be restored, unless
    `keeps_names`. `adapter` is merged into the source; `base` is what a source that is an adapter belongs to.
    `pre_tokenizer` names a BPE tokenizer's, which is found where it is "".
    """

    file_type: FileType
    overrides: Overrides = field(default_factory=Overrides)
    imatrix: str = ""
    source_path: str = ""
    requantises: bool = False
    format: str = GGUF
    pre_tokenizer: str = ""
    keeps_names: bool = False
    adapter: Partner | None = None
    base: Partner | None = None

    @classmethod
    def of(cls, name: str) -> "Choice":
        """The file type or checkpoint of that name and nothing else; NamingError `unknown-file-type`."""
        known = {one.upper(): dtype for one, dtype in zip(CHECKPOINT_NAMES, PLAIN, strict=True)}
        if name.upper() in known:
            return cls(FILE_TYPES[known[name.upper()]], format=SAFETENSORS)
        return cls(file_type_by_name(name))

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> "Choice":
        """What a recipe's content asks for. Raises NamingError `other-converter` if this program gives other bytes."""
        made_by = (content.get("converter"), content.get("rules"), content.get("format"))
        if made_by[:2] != (CONVERTER, RULES) or made_by[2] not in FORMATS:
            raise NamingError(
                "other-converter",
                f"the recipe is for {', '.join(map(str, made_by))}, and this is {CONVERTER}, {RULES}, "
                f"{' or '.join(FORMATS)}. Run the release that made it.",
            )
        return cls(
            file_type_by_name(content["file_type"]),
            Overrides.from_json(content.get("overrides", {})),
            content.get("imatrix") or "",
            content.get("source_path", ""),
            content.get("requantises", False),
            content["format"],
            content.get("pre_tokenizer", ""),
            content.get("keeps_names", False),
            Partner.from_json(content.get("adapter")),
            Partner.from_json(content.get("base")),
        )

    def content(self) -> dict[str, Any]:
        """All that determines the output but the source commit; what is not asked for is left out or empty."""
        content: dict[str, Any] = {
            "converter": CONVERTER,
            "file_type": self.file_type.name,
            "format": self.format,
            "imatrix": self.imatrix or None,
            "overrides": self.overrides.as_json(),
            "rules": RULES,
        }
        asked: dict[str, Any] = {
            "adapter": self.adapter and self.adapter.as_json(),
            "base": self.base and self.base.as_json(),
            "keeps_names": self.keeps_names,
            "pre_tokenizer": self.pre_tokenizer,
            "requantises": self.requantises,
            "source_path": self.source_path,
        }
        return content | {key: value for key, value in asked.items() if value}

    @property
    def digest(self) -> str:
        return recipe_digest(self.content())

    @property
    def is_plain(self) -> bool:
        """Nothing but the file type; a source that leaves no choice does not make it less plain."""
        asked = replace(self, source_path="", requantises=False, base=None)
        return asked == Choice(self.file_type, format=self.format)

    @property
    def name(self) -> str:
        """What people call it: `Q4_K_M`, `safetensors-BF16`, or `Q4_K_M-1a2b3c4d` when more was asked for."""
        kind = self.file_type.name if self.format == GGUF else f"{self.format}-{self.file_type.name}"
        return kind + self._mark

    def row(self) -> Recipe:
        """The recipe's row, made when it is used for the first time."""
        row, _ = Recipe.objects.get_or_create(
            digest=self.digest,
            defaults={"name": self.name, "format": self.format, "content": self.content()},
        )
        return row

    def path(self, commit: Commit) -> str:
        """The file's name as users know it: `<model name>-<recipe>.gguf`, or a folder like that of a checkpoint."""
        stem = f"{commit.repo.name}-{self.file_type.name}{self._mark}"
        return f"{stem}.gguf" if self.format == GGUF else f"{stem}/model.safetensors"

    @property
    def _mark(self) -> str:
        return "" if self.is_plain else f"-{self.digest[:8]}"


def recipe_digest(content: dict[str, Any]) -> str:
    """sha256 of the canonical JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_by_digest(digest: str) -> Recipe:
    """The row of that digest. Raises Recipe.DoesNotExist."""
    return Recipe.objects.get(digest=digest)
