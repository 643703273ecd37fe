"""The variants of a repo: what `org/name:Q4_K_M` may mean, and which files that is.

A variant is one GGUF model of the commit itself, the safetensors checkpoint of the commit, or an artifact that was
made here from exactly this commit, passed its test inference and was published. Files that a stranger claims to
have made from it are not: the name before the colon must vouch for the bytes.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from django.db.models import Prefetch

from registry.models import Artifact, Commit, File, Repo, Validation

SAFETENSORS = "safetensors"
# What stays out of `:safetensors`: the same weights in another form.
OTHER_WEIGHTS = {
    ".gguf",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".onnx",
    ".ot",
    ".tflite",
    ".pdparams",
}
_TYPE = re.compile(
    r"(?:^|[-._/])((?:IQ|TQ|Q)\d(?:_[0-9A-Z]+)*|BF16|F16|F32|MXFP4|NVFP4)(?=$|[-._/])", re.IGNORECASE
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_NO_MODEL = re.compile(r"(?:^|/)(?:mmproj|imatrix|mtp-)[^/]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Variant:
    """One way to have the weights of a repo: in which commit of which repo its files are."""

    name: str
    repo_id: str
    commit_hash: str
    files: list[File] = field(repr=False)
    verdict: str | None = None

    @property
    def path(self) -> str:
        """The file to name; of a checkpoint, or of shards, the first one with weights."""
        weights = [
            file.path for file in self.files if PurePosixPath(file.path).suffix in (".gguf", ".safetensors")
        ]
        return (weights or [file.path for file in self.files] or [""])[0]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def variants_of(repo: Repo, commit: Commit) -> list[Variant]:
    """Every variant of the commit, its own files first, each name once. Four queries, whatever the number.

    Whoever may see the repo may see what is returned: artifacts in a repo with narrower access are left out.
    """
    files = list(File.objects.filter(commit=commit).select_related("blob").order_by("path"))
    own = [*_checkpoint(repo, commit, files), *_gguf_models(repo, commit, files)]
    taken = {variant.name.lower() for variant in own}
    made = [variant for variant in _published(repo, commit) if variant.name.lower() not in taken]
    return own + made


def find_variant(variants: Iterable[Variant], name: str) -> Variant | None:
    """The variant of that name, whatever the case of its letters."""
    return next((variant for variant in variants if variant.name.lower() == name.lower()), None)


def _checkpoint(repo: Repo, commit: Commit, files: list[File]) -> list[Variant]:
    if not any(PurePosixPath(file.path).suffix == ".safetensors" for file in files):
        return []
    kept = [file for file in files if PurePosixPath(file.path).suffix not in OTHER_WEIGHTS]
    return [Variant(SAFETENSORS, repo.repo_id, commit.commit_hash, kept)]


def _gguf_models(repo: Repo, commit: Commit, files: list[File]) -> list[Variant]:
    """One a model: shards of one model are one variant."""
    models: dict[str, list[File]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        if path.suffix == ".gguf" and not _NO_MODEL.search(file.path):
            models.setdefault(_SHARD.sub("", str(path.with_suffix(""))), []).append(file)
    names = {stem: _type_in(stem) for stem in models}
    count = Counter(name.lower() for name in names.values())
    return [
        Variant(
            names[stem] if count[names[stem].lower()] == 1 else stem, repo.repo_id, commit.commit_hash, shards
        )
        for stem, shards in models.items()
    ]


def _type_in(stem: str) -> str:
    """The quantization type a file name ends in, as ggml spells it; the bare name when it tells none."""
    found = _TYPE.findall(stem)
    return found[-1].upper() if found else PurePosixPath(stem).name


def _published(repo: Repo, commit: Commit) -> list[Variant]:
    newest = Prefetch("validations", Validation.objects.order_by("-created_at"), to_attr="newest_first")
    published = Artifact.objects.filter(
        source=commit, state=Artifact.State.PUBLISHED, published_in__isnull=False
    )
    artifacts = published.select_related("recipe", "published_in__repo").prefetch_related(newest)
    seen = [
        artifact for artifact in artifacts.order_by("recipe__name", "pk") if _is_as_visible(artifact, repo)
    ]
    files = File.objects.filter(
        commit__in=[artifact.published_in_id for artifact in seen],
        path__in=[artifact.path for artifact in seen],
    ).select_related("blob")
    by_place = {(file.commit_id, file.path): file for file in files}
    return [_variant(artifact, by_place[place]) for artifact in seen
            if (place := (artifact.published_in_id or 0, artifact.path)) in by_place]  # fmt: skip


def _is_as_visible(artifact: Artifact, repo: Repo) -> bool:
    assert artifact.published_in is not None  # noqa: S101  # the query asked for it
    home = artifact.published_in.repo
    return not home.private or (repo.private and home.organisation_id == repo.organisation_id)


def _variant(artifact: Artifact, file: File) -> Variant:
    assert artifact.published_in is not None  # noqa: S101  # the query asked for it
    verdicts: list[Validation] = getattr(artifact, "newest_first", [])
    verdict = verdicts[0].verdict if verdicts else None
    home = artifact.published_in
    return Variant(artifact.recipe.name, home.repo.repo_id, home.commit_hash, [file], verdict)
