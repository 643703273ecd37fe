"""Commit, File: an immutable snapshot of a repo and the paths in it."""

from typing import cast

from django.db import models
from django.db.models.functions import Coalesce, Upper

from registry.models.blob import Blob
from registry.models.repo import Repo
from registry.models.rules import GIT_OID, SHA256, matches, not_negative


class Commit(models.Model):
    """An immutable snapshot: which files it has never changes.

    `is_complete` says that every file of it is held and verified. A commit that is pulled through is known from
    the beginning with all its files, and its bytes come as they are asked for. A mirrored commit keeps upstream's
    id; one made here has the id git itself computes. The facts below `size_bytes` are read from the commit's own
    files by inspection and may be absent until it ran.
    """

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="commits")
    commit_hash = models.CharField(max_length=40)
    parents = models.JSONField(default=list, help_text="40-hex ids, newest history first")
    title = models.CharField(max_length=500, blank=True)
    message = models.TextField(blank=True)
    author = models.CharField(max_length=200, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    recorded_at = models.DateTimeField(auto_now_add=True)
    upstream_info = models.JSONField(default=dict, help_text="what upstream said of the repo at that moment")
    manifest_sha256 = models.CharField(max_length=64, null=True, blank=True)
    is_complete = models.BooleanField(
        default=True, help_text="every file is held; inspected and converted only then"
    )
    git_object = models.BinaryField(
        null=True,
        blank=True,
        help_text="the commit as git gets it; its sha1 is the commit hash, unless only upstream knows that object",
    )
    n_files = models.IntegerField(default=0)
    size_bytes = models.BigIntegerField(default=0)

    inspected_at = models.DateTimeField(null=True, blank=True)
    architecture = models.CharField(max_length=100, blank=True, db_index=True)
    parameter_count = models.BigIntegerField(null=True, blank=True)
    context_length = models.BigIntegerField(null=True, blank=True)
    license = models.CharField(max_length=100, blank=True, db_index=True)
    pipeline_tag = models.CharField(max_length=100, blank=True)
    library_name = models.CharField(max_length=100, blank=True)
    tags = models.JSONField(default=list)
    card = models.TextField(blank=True, help_text="README.md without its front matter")
    card_data = models.JSONField(default=dict, help_text="the front matter of README.md")
    facts = models.JSONField(default=dict, help_text="parameters by dtype, formats, tokenizer: for pages")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repo", "commit_hash"], name="commit_once"),
            matches("commit", "commit_hash", GIT_OID),
            matches("commit", "manifest_sha256", SHA256),
            not_negative("commit", "size_bytes"),
            not_negative("commit", "parameter_count"),
        ]
        # What a list of repos is narrowed and sorted by; two more, of JSON, are PostgreSQL's alone (migration 0009).
        indexes = [
            models.Index(fields=["repo", "-recorded_at"], name="commit_newest"),
            models.Index(Coalesce("committed_at", "recorded_at").desc(), name="commit_modified"),
            models.Index(fields=["pipeline_tag"], name="commit_pipeline_tag"),
            models.Index(fields=["library_name"], name="commit_library_name"),
            models.Index(fields=["parameter_count"], name="commit_parameter_count"),
            models.Index(Upper("license"), name="commit_license"),
        ]

    def __str__(self) -> str:
        return self.commit_hash

    @property
    def manifest_key(self) -> str:
        return f"commits/{self.repo.repo_id}/{self.commit_hash}.json"


class File(models.Model):
    """An entry of a commit: a path, what its bytes must be, and the blob with them.

    `blob` is null while only upstream has the bytes, which can be so in a commit that is not complete.
    """

    commit = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=1024)
    blob = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="files")
    size_bytes = models.BigIntegerField()
    git_oid = models.CharField(max_length=40, help_text="of the bytes; of the pointer for an LFS object")
    is_lfs = models.BooleanField(default=False)
    lfs_sha256 = models.CharField(max_length=64, null=True, blank=True, help_text="of an LFS object's bytes")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["commit", "path"], name="file_once"),
            matches("file", "git_oid", GIT_OID),
            matches("file", "lfs_sha256", SHA256),
            models.CheckConstraint(
                condition=models.Q(is_lfs=True, lfs_sha256__isnull=False)
                | models.Q(is_lfs=False, lfs_sha256__isnull=True),
                name="file_lfs_has_sha256",
            ),
            not_negative("file", "size_bytes"),
            models.CheckConstraint(condition=~models.Q(path=""), name="file_path_not_empty"),
        ]

    def __str__(self) -> str:
        return self.path

    @property
    def etag(self) -> str:
        """What a client compares: sha256 for an LFS object, git oid otherwise."""
        return self.lfs_sha256 or self.git_oid

    @property
    def sha256(self) -> str | None:
        """Of the bytes; None while that is not known: a file outside LFS that is not held."""
        return self.lfs_sha256 or (self.blob.sha256 if self.blob else None)

    @property
    def held(self) -> Blob:
        """The blob of a file of a complete commit. Others ask `blob`, which may be None."""
        return cast(Blob, self.blob)
