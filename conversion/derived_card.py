"""The README.md of a derived repo: what the files are, from what they were made, and what was measured."""

from dataclasses import dataclass
from typing import Any

import yaml

from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.card import MAX_CARD_BYTES, read_card
from registry.models import Artifact, Commit

CARRIED = ("license_name", "license_link", "language")
"""Taken over from the parent's own card, beside its licence."""

LIBRARIES: dict[str, dict[str, Any]] = {
    "gguf": {"library_name": "gguf", "tags": ["gguf"]},
    "safetensors": {"library_name": "transformers", "tags": ["safetensors"]},
}
MADE = {"gguf": "GGUF files", "safetensors": "Checkpoints in safetensors, a folder each,"}
JUDGED = {
    "gguf": "Each was run by llama.cpp in a sandbox and compared with that parent before it was published.",
    "safetensors": "The tensors of each were compared with that parent's before it was published.",
}
"""By the format of a recipe: front matter, and the two sentences that differ."""


@dataclass(frozen=True)
class CardFile:
    """One line of the table."""

    path: str
    type_name: str
    size_bytes: int
    sha256: str
    verdict: str
    mean_kld: float | None
    top1_agreement: float | None

    @classmethod
    def of(cls, artifact: Artifact, report: dict[str, Any]) -> "CardFile":
        """The line for an artifact and the report that let it be published."""
        figures = report.get("figures") or {}
        return cls(
            artifact.path,
            artifact.recipe.name,
            artifact.blob.size_bytes,
            artifact.blob.sha256,
            str(report.get("verdict", "")),
            figures.get("mean_kld"),
            figures.get("top1_agreement"),
        )


def parents_card(store: BlobStore, parent: Commit) -> dict[str, Any]:
    """What the parent's own README.md says of it; read from the file when inspection has not come to it yet."""
    if parent.inspected_at is not None:
        return dict(parent.card_data)
    readme = parent.files.filter(path="README.md").select_related("blob").first()
    if readme is None:
        return dict(parent.card_data)
    return read_card(store.read(blob_key(readme.held.sha256), 0, min(readme.size_bytes, MAX_CARD_BYTES))).data


def license_of(parent: Commit, card: dict[str, Any]) -> str:
    """The parent's licence as its card spells it, or nothing."""
    found = parent.license or card.get("license")
    return found if isinstance(found, str) else ""


def derived_card(
    repo_id: str, parent: Commit, card: dict[str, Any], files: list[CardFile], format_name: str = "gguf"
) -> bytes:
    """The card as UTF-8; `card` is what the parent's says. The same inputs give the same bytes."""
    matter = _front_matter(parent, card) | LIBRARIES[format_name]
    front = yaml.safe_dump(matter, sort_keys=True, allow_unicode=True, default_flow_style=False)
    name = parent.repo.repo_id
    lines = [
        f"# {repo_id}",
        "",
        f"{MADE[format_name]} made by Holdfast from [{name}](/{name}) at commit `{parent.commit_hash}`.",
        JUDGED[format_name],
        "",
        "| file | type | bytes | verdict | mean KL divergence | same next token |",
        "|---|---|---:|---|---:|---:|",
        *(_row(file) for file in files),
        "",
        "Pull one of them, verified, into the Hugging Face cache:",
        "",
        "```",
        *(f"holdfast pull {name}:{file.type_name}" for file in files),
        "```",
        "",
        "## Digests",
        "",
        "```",
        *(f"{file.sha256}  {file.path}" for file in files),
        "```",
    ]
    return ("---\n" + front + "---\n\n" + "\n".join(lines) + "\n").encode()


def _front_matter(parent: Commit, card: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "base_model": parent.repo.repo_id,
        "base_model_relation": "quantized",
    }
    if license_id := license_of(parent, card):
        found["license"] = license_id
    if pipeline_tag := parent.pipeline_tag or card.get("pipeline_tag"):
        found["pipeline_tag"] = pipeline_tag
    return found | {key: card[key] for key in CARRIED if key in card}


def _row(file: CardFile) -> str:
    kld = "" if file.mean_kld is None else f"{file.mean_kld:.2g}"
    same = "" if file.top1_agreement is None else f"{file.top1_agreement:.1%}"
    return f"| {file.path} | {file.type_name} | {file.size_bytes:,} | {file.verdict} | {kld} | {same} |"
