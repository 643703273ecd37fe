"""The table of variants: each way to have these weights, with its size and the numbers that judge it."""

from dataclasses import dataclass

from django.db.models import Q

from registry.gates import UNKNOWN, Standing, standings
from registry.models import Artifact, Commit, File, Override, Validation
from registry.templatetags.humane import words_of_bytes
from registry.variants import SAFETENSORS, Variant, variants_of

WEIGHTS = {"safetensors", "gguf", "pytorch", "llama2c"}


@dataclass(frozen=True)
class VariantRow:
    """One way to have these weights, and what is held to be true of them."""

    name: str
    note: str
    size_bytes: int
    bits_per_weight: float | None
    repo_id: str
    commit_hash: str
    path: str
    sha256: str
    selector: str = ""  # what `org/name:selector` says; empty for what cannot be pulled
    artifact: Artifact | None = None
    standing: Standing = UNKNOWN
    is_pulled: bool = False  # whether the gate lets a client pull it without being asked

    @property
    def validation(self) -> Validation | None:
        return self.standing.validation

    @property
    def override(self) -> Override | None:
        return self.standing.override

    @property
    def state(self) -> str:
        return self.standing.verdict

    @property
    def is_judged(self) -> bool:
        """Whether a verdict says something of it, or is awaited: not so for weights as their author published them."""
        return self.artifact is not None or self.standing != UNKNOWN

    @property
    def is_gguf(self) -> bool:
        return self.path.endswith(".gguf")

    @property
    def is_reference(self) -> bool:
        """Whether these are the weights that the others are compared with."""
        return self.selector == SAFETENSORS

    @property
    def size_words(self) -> str:
        return words_of_bytes(self.size_bytes)

    @property
    def report(self) -> str:
        """Where the report of its validation is."""
        return f"/{self.repo_id}/validation/{self.sha256}" if self.is_judged else ""


def weight_files(commit: Commit) -> list[File]:
    """The commit's files that hold tensors, with blob and header, by path. One query."""
    files = commit.files.filter(blob__header__format__in=WEIGHTS)
    return list(files.select_related("blob__header").order_by("path"))


def variant_rows(commit: Commit, weights: list[File]) -> list[VariantRow]:
    """What can be pulled, largest first after the weights as published, of one size the closest first; then what did
    not pass. Nine queries."""
    artifacts = {artifact.blob.sha256: artifact for artifact in _artifacts_of(commit)}
    rows = [_pullable(commit, weights, one, artifacts) for one in variants_of(commit.repo, commit)]
    kept_back = [one for one in artifacts.values() if one.state != Artifact.State.PUBLISHED]
    own = [row for row in rows if row.selector == SAFETENSORS]
    rest = sorted((row for row in rows if row.selector != SAFETENSORS), key=_largest_and_closest)
    held = standings(artifact.blob_id for artifact in kept_back)
    return own + rest + [_kept_back(one, held.get(one.blob_id, UNKNOWN)) for one in kept_back]


def _largest_and_closest(row: VariantRow) -> tuple[int, bool, float]:
    distance = row.validation.mean_kld if row.validation else None
    return -row.size_bytes, distance is None, distance or 0.0


def _artifacts_of(commit: Commit) -> list[Artifact]:
    """Artifacts made of this commit, and those whose bytes this commit publishes. One query."""
    which = Q(source=commit) | Q(published_in__repo=commit.repo, blob__files__commit=commit)
    rows = Artifact.objects.filter(which).select_related("recipe", "blob", "source__repo")
    return list(rows.distinct().order_by("pk"))


def _pullable(
    commit: Commit, weights: list[File], variant: Variant, artifacts: dict[str, Artifact]
) -> VariantRow:
    held = {file.held.pk: file for file in weights if file.blob}
    tensors = [held[file.blob_id] for file in variant.files if file.blob_id in held] or variant.files
    first = next((file for file in variant.files if file.path == variant.path), variant.files[0])
    artifact = artifacts.get(first.sha256 or "")
    size_bytes = sum(file.size_bytes for file in tensors)
    return VariantRow(
        name=main_dtype(commit) if variant.name == SAFETENSORS else variant.name,
        note=_note(variant, tensors, artifact),
        size_bytes=size_bytes,
        bits_per_weight=_bits(size_bytes, _parameters(tensors, held, artifact)),
        repo_id=variant.repo_id, commit_hash=variant.commit_hash, path=variant.path, sha256=first.sha256 or "",
        selector=variant.name, artifact=artifact, standing=variant.standing,
        is_pulled=variant.standing.verdict in variant.gate.pulls,
    )  # fmt: skip


def _note(variant: Variant, tensors: list[File], artifact: Artifact | None) -> str:
    if artifact:
        return ""
    form = SAFETENSORS if variant.name == SAFETENSORS else "GGUF"
    return f"{form}, as published" + (f", {len(tensors)} shards" if len(tensors) > 1 else "")


def _parameters(tensors: list[File], held: dict[int, File], artifact: Artifact | None) -> int | None:
    if artifact and artifact.source.parameter_count:
        return artifact.source.parameter_count
    return sum(held[file.blob_id].held.header.parameter_count for file in tensors if file.blob_id in held)


def _bits(size_bytes: int, n_parameters: int | None) -> float | None:
    return 8 * size_bytes / n_parameters if n_parameters else None


def _kept_back(artifact: Artifact, standing: Standing) -> VariantRow:
    waits = artifact.state == Artifact.State.UNVALIDATED
    return VariantRow(
        name=artifact.recipe.name,
        note="waits for test inference" if waits else "not published: it did not pass",
        size_bytes=artifact.blob.size_bytes,
        bits_per_weight=_bits(artifact.blob.size_bytes, artifact.source.parameter_count),
        repo_id=artifact.source.repo.repo_id, commit_hash=artifact.source.commit_hash, path=artifact.path,
        sha256=artifact.blob.sha256, artifact=artifact, standing=standing,
    )  # fmt: skip


def main_dtype(commit: Commit) -> str:
    """The dtype that most parameters have, as inspection counted them."""
    by_dtype = commit.facts.get("parameters") or {}
    if not isinstance(by_dtype, dict) or not by_dtype:
        return "safetensors"
    return str(max(by_dtype, key=lambda dtype: by_dtype[dtype]))
