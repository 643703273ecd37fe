"""The files of a derived repo: the artifacts that are out, and beside a checkpoint what a loader needs to open it."""

from pathlib import PurePosixPath

from conversion.formats.errors import HeaderError
from conversion.naming import NamingError
from conversion.recipes import SAFETENSORS, Choice
from conversion.source import plan_whole_checkpoint
from conversion.workplace import work_folder
from mirror.blobs import BlobStore
from mirror.committing import Entry, put_small
from registry.git import lfs_pointer_oid
from registry.models import Artifact
from registry.work import JobFailed

CARD = "README.md"
GITATTRIBUTES = {
    "gguf": b"*.gguf filter=lfs diff=lfs merge=lfs -text\n",
    "safetensors": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
}
"""By the format of a recipe: what git keeps by its pointer."""


def artifact_entries(store: BlobStore, artifact: Artifact) -> list[Entry]:
    """The artifact and what lies beside it. Raises JobFailed where a checkpoint cannot be planned again."""
    blob = artifact.blob
    oid = lfs_pointer_oid(blob.sha256, blob.size_bytes)
    own = Entry(artifact.path, blob.sha256, blob.size_bytes, oid, is_lfs=True)
    if artifact.recipe.format != SAFETENSORS:
        return [own]
    folder = PurePosixPath(artifact.path).parent
    return [own, *(_published(artifact, folder) or _made(store, artifact, folder))]


def _published(artifact: Artifact, folder: PurePosixPath) -> list[Entry]:
    """As they were put out with it. One query."""
    if artifact.published_in is None:
        return []
    files = artifact.published_in.files.filter(path__startswith=f"{folder}/").exclude(path=artifact.path)
    return [
        Entry(file.path, file.held.sha256, file.size_bytes, file.git_oid, is_lfs=file.is_lfs)
        for file in files.select_related("blob").order_by("path")
    ]


def _made(store: BlobStore, artifact: Artifact, folder: PurePosixPath) -> list[Entry]:
    small = small_files(store, artifact)
    return [put_small(store, f"{folder}/{name}", data) for name, data in sorted(small.items())]


def small_files(store: BlobStore, artifact: Artifact) -> dict[str, bytes]:
    """What a loader wants beside a checkpoint, by name, as its recipe makes it; {} for a GGUF, which has it all within.

    The parent's card stays with the parent. Raises JobFailed where the checkpoint cannot be planned again.
    """
    if artifact.recipe.format != SAFETENSORS:
        return {}
    try:
        choice = Choice.from_content(artifact.recipe.content)
        with work_folder(f"beside-{artifact.pk}") as place:
            small = plan_whole_checkpoint(store, artifact.source, choice, place).small
    except (HeaderError, NamingError) as error:
        raise JobFailed(error.code, f"{artifact.path}: {error}") from error
    return {name: data for name, data in small.items() if name != CARD}
