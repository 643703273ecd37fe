"""A new repo of somebody's own: its row, and a first commit on `main` that says which files git keeps by a pointer."""

from django.contrib.auth.models import User
from django.db import transaction

from mirror.blobs.store import BlobStore
from mirror.committing import (
    AGENT,
    Letter,
    move_branch,
    note_commit,
    put_draft,
    put_small,
    record_draft,
    withdraw_draft,
)
from registry.models import Organisation, Repo
from registry.repos import RepoExists, add_repo, new_repo
from registry.revisions import DEFAULT

GITATTRIBUTES = ".gitattributes"
TITLE = "initial commit"
LFS_PATTERNS = """
*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx
*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm
*.xz *.zip *.zst *tfevents*
"""
"""What a new repo keeps by pointer: weights, archives, arrays, as on the hub, and GGUF."""

DATA_PATTERNS = """
*.avro *.lz4 *.mds *.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg *.jpeg *.webp *.mp4
*.webm
"""
"""And beside these in a data set: records, sound, pictures, films."""


def create_repo(
    store: BlobStore, user: User, organisation: Organisation, name: str, *, repo_type: str, private: bool
) -> Repo:
    """The repo is there, with a first commit that `main` names, whose id is the one git computes.

    Raises BadName and RepoExists.
    """
    repo = new_repo(organisation, name, repo_type=repo_type, private=private)
    file = put_small(store, GITATTRIBUTES, first_gitattributes(repo_type))
    letter = Letter.of(user, TITLE)
    draft = put_draft(store, repo, [file], letter, parents=(), recorded_by=AGENT)
    try:
        with transaction.atomic():
            add_repo(repo, user)
            commit = record_draft(repo, draft)
            move_branch(repo, DEFAULT, commit)
            note_commit(commit, letter.author)
    except RepoExists as taken:
        withdraw_draft(taken.repo, draft)
        raise
    return repo


def first_gitattributes(repo_type: str) -> bytes:
    """The `.gitattributes` that a new repo begins with."""
    patterns = LFS_PATTERNS + (DATA_PATTERNS if repo_type == Repo.Type.DATASET else "")
    return "".join(
        f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns.split()
    ).encode()
