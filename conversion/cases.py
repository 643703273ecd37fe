"""What a validation job judges: bytes under a name, and the commit that they should say the same as."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from django.db.models import Q

from conversion.derived_files import small_files
from conversion.naming import NamingError
from conversion.publish import derived_repo_id
from conversion.recipes import Choice, Partner
from conversion.source import SHARD
from conversion.workplace import OnBytes, place_blob
from mirror.blobs import BlobStore
from registry.incomplete import CommitIncomplete, refuse_incomplete
from registry.models import Artifact, Blob, Commit, File, Lineage, Repo
from registry.validating import SAME_MODEL

MOST_FOLDER_FILES = 1000
"""Of a checkpoint that is judged as a folder: more would be a data set."""


CONFIGS = frozenset({"config.json", "adapter_config.json", "modules.json"})


class CaseRefused(Exception):
    """It cannot be judged as it lies; `code` is stable, the message names the file."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Case:
    """`blob` is what the verdict will be on, `files` all that the engine needs, by the names they have beside it.

    `home` is the commit that holds the file, or that an artifact was made from.
    """

    blob: Blob
    path: str
    home: Commit
    files: Mapping[str, Blob]
    parent: Commit | None = None
    artifact: Artifact | None = None
    relation: str = Lineage.Relation.QUANTIZED

    @property
    def name(self) -> str:
        """What people call it in a message."""
        return self.path if self.artifact else f"{self.home.repo.repo_id}/{self.path}"

    @property
    def holder(self) -> str:
        """The repo whose gate decides: the one that holds the file, or will."""
        repo_id = self.home.repo.repo_id
        return derived_repo_id(repo_id, self.artifact.recipe.format) if self.artifact else repo_id

    @property
    def is_folder(self) -> bool:
        """Whether a config beside the weights says how to read them. GGUF and ONNX say it themselves."""
        if self.path.endswith((".gguf", ".onnx")):
            return False
        return self.artifact is not None or not CONFIGS.isdisjoint(self.files)

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.files.values())

    @property
    def source_path(self) -> str:
        """Which of several GGUF files of the parent it was made from, as its recipe says."""
        return str(self._recipe.get("source_path", ""))

    @property
    def adapter(self) -> Partner | None:
        """What was merged into the parent before it was converted."""
        return Partner.from_json(self._recipe.get("adapter"))

    @property
    def base(self) -> Partner | None:
        """Where the parent is an adapter: what it is added to."""
        return Partner.from_json(self._recipe.get("base"))

    @property
    def _recipe(self) -> Mapping[str, Any]:
        return self.artifact.recipe.content if self.artifact else {}

    @property
    def digests(self) -> str | Mapping[str, str]:
        """What its bytes must hash to: one sha256 for a file, or one by name for a folder or a split GGUF."""
        if not self.is_folder and not SHARD.search(self.path):
            return self.blob.sha256
        return {name: blob.sha256 for name, blob in self.files.items()}

    @property
    def plain_choice(self) -> Choice | None:
        """The recipe it was made by, if that is our own of today with nothing beyond the file type; or None."""
        if self.artifact is None:
            return None
        try:
            choice = Choice.from_content(self.artifact.recipe.content)
        except (NamingError, KeyError):
            return None
        return choice if choice.is_plain else None

    def place(self, store: BlobStore, folder: Path, on_bytes: OnBytes) -> Path:
        """Everything lies below `folder`; the path that an engine opens."""
        home = folder / "judged"
        home.mkdir()
        for name, blob in self.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            place_blob(store, blob, home / name, on_bytes)
        for name, data in (small_files(store, self.artifact) if self.artifact else {}).items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(data)
        return home if self.is_folder else home / PurePosixPath(self.path).name


def find_case(params: Mapping[str, Any]) -> Case | None:
    """What the job's parameters name; None if it is gone meanwhile. Raises CaseRefused."""
    if "artifact" in params:
        rows = Artifact.objects.select_related("blob", "recipe", "source__repo", "published_in__repo")
        artifact = rows.filter(pk=params["artifact"]).first()
        return case_of(artifact) if artifact else None
    commit = Commit.objects.select_related("repo").filter(pk=params["commit"]).first()
    if commit is None:
        return None
    parent = Commit.objects.select_related("repo").filter(pk=params["parent"] or 0).first()
    if parent:
        try:
            refuse_incomplete(parent)
        except CommitIncomplete as error:
            raise CaseRefused(error.code, str(error)) from error
    return _file_case(commit, str(params["path"]), parent)


def case_of(artifact: Artifact) -> Case:
    name = PurePosixPath(artifact.path).name
    return Case(
        artifact.blob, artifact.path, artifact.source, {name: artifact.blob}, artifact.source, artifact
    )


def case_in(repo: Repo, sha256: str) -> Case | None:
    """The bytes with that digest, if the repo made, published or holds them; held ones without a parent."""
    of_repo = Q(source__repo=repo) | Q(published_in__repo=repo)
    rows = Artifact.objects.select_related("blob", "recipe", "source__repo", "published_in__repo")
    if artifact := rows.filter(of_repo, blob__sha256=sha256).order_by("pk").first():
        return case_of(artifact)
    files = File.objects.filter(commit__repo=repo, blob__sha256=sha256).select_related("commit__repo")
    file = files.order_by("-commit__pk", "path").first()
    return _file_case(file.commit, file.path, None) if file else None


def _file_case(commit: Commit, path: str, parent: Commit | None) -> Case | None:
    files = {file.path: file for file in commit.files.select_related("blob")}
    if path not in files:
        return None
    parts = _parts_of(path, files)
    if len(parts) > MOST_FOLDER_FILES:
        raise CaseRefused(
            "too-many-files", f"{path} lies among {len(parts)} files; at most {MOST_FOLDER_FILES} are placed."
        )
    if missing := [file.path for file in parts.values() if file.blob is None]:
        raise CaseRefused("commit-incomplete", str(CommitIncomplete(commit, missing)))
    placed = {name: file.held for name, file in parts.items()}
    return Case(files[path].held, path, commit, placed, parent, relation=_relation(commit, parent))


def _relation(commit: Commit, parent: Commit | None) -> str:
    """What the file's repo says that it is to its parent; of a fine-tune nobody asks that it says the same."""
    if parent is None:
        return Lineage.Relation.QUANTIZED
    edges = Lineage.objects.filter(child=commit.repo, parent=parent.repo).order_by("pk")
    said = set(edges.values_list("relation", flat=True)) - set(SAME_MODEL)
    return said.pop() if said and edges.count() == 1 else Lineage.Relation.QUANTIZED


def _parts_of(path: str, files: Mapping[str, File]) -> dict[str, File]:
    """A GGUF with its other shards, an ONNX file with all but other networks, since its weights may lie beside it; of
    anything else its whole folder, since a config says how to read it.
    """
    above = PurePosixPath(path).parent
    beside = {one: file for one, file in files.items() if PurePosixPath(one).parent == above}
    if path.endswith(".gguf"):
        model = SHARD.sub("", path)
        beside = {one: file for one, file in beside.items() if SHARD.sub("", one) == model}
    if path.endswith(".onnx"):
        beside = {one: file for one, file in beside.items() if one == path or not one.endswith(".onnx")}
    return {PurePosixPath(one).name: file for one, file in beside.items()}
