"""The table of variants: each way to have these weights, with its size and the numbers that judge it."""

from dataclasses import dataclass

from django.db.models import Prefetch, Q

from registry.models import Artifact, Commit, File, Validation
from registry.templatetags.humane import words_of_bytes
from registry.variants import SAFETENSORS, Variant, variants_of

WEIGHTS = {"safetensors", "gguf", "pytorch"}


@dataclass(frozen=True)
class VariantRow:
    """One way to have these weights. `validation` is the newest verdict on it, if it was ever judged."""

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
    validation: Validation | None = None

    @property
    def state(self) -> str:
        return self.validation.verdict if self.validation else "untested"

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
        return f"/{self.repo_id}/validation/{self.artifact.pk}" if self.artifact else ""


def weight_files(commit: Commit) -> list[File]:
    """The commit's files that hold tensors, with blob and header, by path. One query."""
    files = commit.files.filter(blob__header__format__in=WEIGHTS)
    return list(files.select_related("blob__header").order_by("path"))


def variant_rows(commit: Commit, weights: list[File]) -> list[VariantRow]:
    """What can be pulled, largest first after the weights as published; then what did not pass. Six queries."""
    artifacts = {artifact.blob.sha256: artifact for artifact in judged(_of_commit(commit))}
    rows = [_pullable(commit, weights, one, artifacts) for one in variants_of(commit.repo, commit)]
    kept_back = [one for one in artifacts.values() if one.state != Artifact.State.PUBLISHED]
    own = [row for row in rows if row.selector == SAFETENSORS]
    rest = sorted((row for row in rows if row.selector != SAFETENSORS), key=lambda row: -row.size_bytes)
    return own + rest + [_kept_back(artifact) for artifact in kept_back]


def _of_commit(commit: Commit) -> Q:
    """Artifacts made of this commit, and those whose bytes this commit publishes."""
    return Q(source=commit) | Q(published_in__repo=commit.repo, blob__files__commit=commit)


def judged(which: Q) -> list[Artifact]:
    """Artifacts with recipe, blob, home and all their validations, newest first. Two queries."""
    newest_first = Validation.objects.order_by("-created_at", "-pk")
    rows = Artifact.objects.filter(which).select_related(
        "recipe", "blob", "source__repo", "published_in__repo"
    )
    return list(rows.prefetch_related(Prefetch("validations", newest_first)).distinct().order_by("pk"))


def _pullable(
    commit: Commit, weights: list[File], variant: Variant, artifacts: dict[str, Artifact]
) -> VariantRow:
    held = {file.blob_id: file for file in weights}
    tensors = [held[file.blob_id] for file in variant.files if file.blob_id in held] or variant.files
    first = next((file for file in variant.files if file.path == variant.path), variant.files[0])
    artifact = artifacts.get(first.blob.sha256)
    size_bytes = sum(file.size_bytes for file in tensors)
    return VariantRow(
        name=main_dtype(commit) if variant.name == SAFETENSORS else variant.name,
        note=_note(variant, tensors, artifact),
        size_bytes=size_bytes,
        bits_per_weight=_bits(size_bytes, _parameters(tensors, held, artifact)),
        repo_id=variant.repo_id, commit_hash=variant.commit_hash, path=variant.path, sha256=first.blob.sha256,
        selector=variant.name, artifact=artifact, validation=_newest(artifact),
    )  # fmt: skip


def _note(variant: Variant, tensors: list[File], artifact: Artifact | None) -> str:
    if artifact:
        return ""
    form = SAFETENSORS if variant.name == SAFETENSORS else "GGUF"
    return f"{form}, as published" + (f", {len(tensors)} shards" if len(tensors) > 1 else "")


def _parameters(tensors: list[File], held: dict[int, File], artifact: Artifact | None) -> int | None:
    if artifact and artifact.source.parameter_count:
        return artifact.source.parameter_count
    return sum(held[file.blob_id].blob.header.parameter_count for file in tensors if file.blob_id in held)


def _bits(size_bytes: int, n_parameters: int | None) -> float | None:
    return 8 * size_bytes / n_parameters if n_parameters else None


def _newest(artifact: Artifact | None) -> Validation | None:
    return next(iter(artifact.validations.all()), None) if artifact else None


def _kept_back(artifact: Artifact) -> VariantRow:
    waits = artifact.state == Artifact.State.UNVALIDATED
    return VariantRow(
        name=artifact.recipe.name,
        note="waits for test inference" if waits else "not published: it did not pass",
        size_bytes=artifact.blob.size_bytes,
        bits_per_weight=_bits(artifact.blob.size_bytes, artifact.source.parameter_count),
        repo_id=artifact.source.repo.repo_id, commit_hash=artifact.source.commit_hash, path=artifact.path,
        sha256=artifact.blob.sha256, artifact=artifact, validation=_newest(artifact),
    )  # fmt: skip


def main_dtype(commit: Commit) -> str:
    """The dtype that most parameters have, as inspection counted them."""
    by_dtype = commit.facts.get("parameters") or {}
    if not isinstance(by_dtype, dict) or not by_dtype:
        return "safetensors"
    return str(max(by_dtype, key=lambda dtype: by_dtype[dtype]))
