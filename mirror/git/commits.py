"""The commit object of a row, which a client of git receives.

A commit made here is what its id says: its object was kept when it was made, or is made again from its row, which its
hash proves. For a mirrored commit upstream is asked for its object. Where nobody knows it, git gets an object of
ours, with the same tree, author, date and message, that names the true commit in its last line:

    Upstream-Commit: <40 hex digits>

Its id is therefore not the commit hash. Its parents are those of the row's parents that were held before it. It is
kept in the row from the first time that it is needed, so it never changes again, whatever is mirrored later.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Collate

from mirror.upstream import RemoteCommit, RemoteFile, UpstreamClient, UpstreamError
from registry import git
from registry.models import Commit, File, Repo

logger = logging.getLogger(__name__)

TRAILER = "Upstream-Commit"
HOUSE_EMAIL = "holdfast@localhost"  # of the commits that were made here before their objects were kept
NOBODY, NOBODYS_EMAIL = "unknown", "unknown@localhost"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH_FILES = 2000


def sorted_files(commit_id: int) -> QuerySet[File]:
    """The files of a commit in git's order: that of their paths' bytes, whatever language the database speaks."""
    collation = "C" if connection.vendor == "postgresql" else "BINARY"
    return File.objects.filter(commit=commit_id).order_by(Collate("path", collation))


def keep_objects(repo: Repo) -> None:
    """Every complete commit of the repo has its object in its row. One query where that was so before."""
    lacking = Commit.objects.filter(repo=repo, is_complete=True, git_object=None)
    for commit in lacking.order_by("pk").defer("card", "card_data", "facts", "upstream_info"):
        tree = _tree_of(commit)
        body = _made_here(commit, tree) or _stand_in(commit, tree)
        # Of two requests at the same time the first decides.
        Commit.objects.filter(pk=commit.pk, git_object=None).update(git_object=body)


def with_object(client: UpstreamClient, commit: RemoteCommit, files: Iterable[RemoteFile]) -> RemoteCommit:
    """The commit with upstream's own object, and the parents in it, if it can be had and proven.

    Proven means: its hash is the commit hash, and its tree is the one that the listed files make. Nothing depends
    on it: whatever goes wrong is a line in the log.
    """
    name = f"{commit.repo_id}@{commit.commit_hash[:8]}"
    try:
        body = client.commit_object(commit.repo_id, commit.commit_hash)
        if body is None:
            return commit
        header = git.read_commit(body)
    except (UpstreamError, ValueError) as error:
        logger.info("%s: upstream gave no commit object: %s", name, error)
        return commit
    if git.commit_object_oid(body) != commit.commit_hash:
        logger.warning("%s: upstream gave the object of another commit", name)
        return commit
    if header.tree != git.tree_oid({file.path: file.git_oid or "" for file in files}):
        # Say, a program in it may be executed: listings do not tell, so we could not make that tree.
        logger.info("%s: its tree is not the one that its files make; git gets an object of ours", name)
        return commit
    return replace(commit, git_object=body, parents=commit.parents or header.parents)


def _tree_of(commit: Commit) -> str:
    """The oid of the commit's root tree."""
    files = sorted_files(commit.pk).values_list("path", "git_oid")
    oid = ""
    for tree in git.trees(files.iterator(chunk_size=BATCH_FILES)):
        oid = tree.oid
    return oid


def _made_here(commit: Commit, tree: str) -> bytes | None:
    """The object again from its row, if that gives the commit hash."""
    author = git.Signature(_name(commit), HOUSE_EMAIL, commit.committed_at or EPOCH)
    for message in {commit.message, commit.title, _message(commit)}:
        body = git.commit_object(tree, parents=commit.parents, author=author, message=message)
        if git.commit_object_oid(body) == commit.commit_hash:
            return body
    return None


def _stand_in(commit: Commit, tree: str) -> bytes:
    """An object of ours for a commit whose own nobody knows. The rows before it have theirs."""
    before = Commit.objects.filter(repo=commit.repo_id, is_complete=True, pk__lt=commit.pk)
    objects = dict(
        before.filter(commit_hash__in=commit.parents, git_object__isnull=False).values_list(
            "commit_hash", "git_object"
        )
    )
    parents = [
        git.commit_object_oid(bytes(objects[parent] or b"")) for parent in commit.parents if parent in objects
    ]
    author = git.Signature(_name(commit), NOBODYS_EMAIL, max(commit.committed_at or EPOCH, EPOCH))
    message = f"{_message(commit)}\n\n{TRAILER}: {commit.commit_hash}\n".lstrip("\n")
    return git.commit_object(tree, parents=parents, author=author, message=message)


def _name(commit: Commit) -> str:
    """The author as git's author line can carry it."""
    return "".join(letter for letter in commit.author if letter not in "<>\r\n\0").strip() or NOBODY


def _message(commit: Commit) -> str:
    """The whole message: upstreams give it without its first line, commits made here have it in full."""
    whole = (
        commit.message if commit.message.startswith(commit.title) else f"{commit.title}\n\n{commit.message}"
    )
    return whole.replace("\0", "").strip("\n")
