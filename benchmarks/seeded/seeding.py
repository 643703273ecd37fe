"""Invented repos are in the database, and the bytes of their files in the store: all that their rows say is true."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from benchmarks.seeded.invented import (
    HOUSE,
    TEXTS,
    WEIGHTS,
    Content,
    InventedRepo,
    commit_of,
    content_of,
    invent,
    oid_of,
)
from benchmarks.seeded.tables import Table, settle, when
from mirror.blobs.store import blob_key
from mirror.store import blob_store
from registry.models import Blob, Commit, File, Lineage, Organisation, Ref, Repo

AT_ONCE = 1000  # repos a transaction: what memory is for
TAGGED = 10  # every so many repos one has a tag

REPOS = Table(Repo, "id", "repo_id", "namespace", "name", "repo_type", "private", "gated", "organisation_id",
              "head_id", "created_at", "updated_at")  # fmt: skip
COMMITS = Table(Commit, "id", "repo_id", "commit_hash", "title", "message", "author", "committed_at", "recorded_at",
                "git_object", "n_files", "size_bytes", "inspected_at", "architecture", "parameter_count",
                "context_length", "license", "pipeline_tag", "library_name", "tags", "card", "card_data",
                "facts")  # fmt: skip
FILES = Table(File, "id", "commit_id", "path", "blob_id", "size_bytes", "git_oid", "is_lfs", "lfs_sha256")
REFS = Table(Ref, "id", "repo_id", "kind", "name", "commit_id", "moved_at")
EDGES = Table(Lineage, "id", "child_id", "child_commit_id", "parent_id", "parent_repo_id", "relation", "evidence",
              "recorded_at")  # fmt: skip


@dataclass
class Keys:
    """The next primary key of each table. A repo's is always its number and 1, so that its parent is found."""

    commit: int
    file: int
    ref: int
    edge: int

    @classmethod
    def of_the_tables(cls) -> "Keys":
        return cls(COMMITS.next_pk, FILES.next_pk, REFS.next_pk, EDGES.next_pk)


def seed(count: int, told: Callable[[int], None] = lambda done: None) -> None:
    """So many repos more, each with its commit, files, refs and lineage; the numbers go on from the highest there is.

    Needs a store with room for a few hundred small blobs: the repos share their contents.
    """
    blobs = {content: _held(content) for content in (*TEXTS, *WEIGHTS)}
    house, _ = Organisation.objects.get_or_create(name=HOUSE)
    first, keys = REPOS.next_pk - 1, Keys.of_the_tables()
    for start in range(first, first + count, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, first + count))
        with transaction.atomic():
            _write([invent(number) for number in numbers], blobs, house.pk, keys)
        told(numbers[-1] + 1 - first)
    settle([REPOS, COMMITS, FILES, REFS, EDGES])


def _held(content: Content) -> int:
    """The key of the row of these bytes, which are in the store."""
    store = blob_store()
    store.put(blob_key(content.sha256), content.body)
    facts = {"git_oid": content.git_oid, "size_bytes": len(content.body), "store": store.name}
    blob, _ = Blob.objects.get_or_create(
        sha256=content.sha256, defaults=facts | {"verified_at": timezone.now()}
    )
    return int(blob.pk)


def _write(repos: list[InventedRepo], blobs: dict[Content, int], house: int, keys: Keys) -> None:
    commit_of_repo = {repo.number: keys.commit + at for at, repo in enumerate(repos)}
    keys.commit += len(repos)
    parents = _parents(repos)
    REPOS.write(_repo_row(repo, house, commit_of_repo[repo.number]) for repo in repos)
    COMMITS.write(_commit_row(repo, commit_of_repo[repo.number], parents.get(repo.number)) for repo in repos)
    files = [(commit_of_repo[repo.number], *_file_row(file, blobs)) for repo in repos for file in repo.files]
    FILES.write((keys.file + at, *row) for at, row in enumerate(files))
    refs = [row for repo in repos for row in _ref_rows(repo, commit_of_repo[repo.number])]
    REFS.write((keys.ref + at, *row) for at, row in enumerate(refs))
    edges = _edge_rows(repos, commit_of_repo, parents)
    EDGES.write((keys.edge + at, *row) for at, row in enumerate(edges))
    keys.file, keys.ref, keys.edge = keys.file + len(files), keys.ref + len(refs), keys.edge + len(edges)


def _parents(repos: list[InventedRepo]) -> dict[int, str]:
    """{number of a child: the id of what it was made of}."""
    return {repo.number: invent(repo.parent).repo_id for repo in repos if repo.parent is not None}


def _repo_row(repo: InventedRepo, house: int, commit: int) -> tuple[Any, ...]:
    kind, made = Repo.Type.DATASET if repo.is_dataset else Repo.Type.MODEL, when(repo.made_at)
    return (repo.number + 1, repo.repo_id, repo.namespace, repo.name, kind.value, repo.private, repo.gated,
            house if repo.private else None, commit, made, made)  # fmt: skip


def _commit_row(repo: InventedRepo, key: int, parent: str | None) -> tuple[Any, ...]:
    commit_hash, git_object = commit_of(repo)
    made, card = when(repo.made_at), repo.card(parent)
    text = (
        f"# {repo.name}\n\n" + f"A {repo.topic} {repo.family} of {repo.millions} million parameters.\n" * 30
    )
    size = sum(len(content_of(file).body) for file in repo.files)
    facts = {} if repo.is_dataset else {
        "formats": ["gguf" if repo.relation == "quantized" else "safetensors"],
        "parameters": {"BF16": repo.millions * 1_000_000},
    }  # fmt: skip
    return (key, repo.number + 1, commit_hash, "Add files", "Add files", repo.namespace, made, made, git_object,
            len(repo.files), size, made, "" if repo.is_dataset else repo.family,
            None if repo.is_dataset else repo.millions * 1_000_000, None if repo.is_dataset else 8192, repo.license,
            card.get("pipeline_tag", ""), card.get("library_name", ""), json.dumps(repo.tags), text,
            json.dumps(card), json.dumps(facts))  # fmt: skip


def _file_row(file: Any, blobs: dict[Content, int]) -> tuple[Any, ...]:
    content = content_of(file)
    sha256 = content.sha256 if file.is_lfs else None
    return (file.path, blobs[content], len(content.body), oid_of(file), file.is_lfs, sha256)


def _ref_rows(repo: InventedRepo, commit: int) -> list[tuple[Any, ...]]:
    names = [("branch", "main"), *([("tag", "v1.0")] if repo.number % TAGGED == 0 else [])]
    return [(repo.number + 1, kind, name, commit, when(repo.made_at)) for kind, name in names]


def _edge_rows(
    repos: list[InventedRepo], commits: dict[int, int], parents: dict[int, str]
) -> list[tuple[Any, ...]]:
    """Declared edges; to a row where the repo of that number is the one that was invented. One query."""
    wanted = {repo.parent + 1 for repo in repos if repo.parent is not None}
    held = dict(Repo.objects.filter(pk__in=wanted).values_list("pk", "repo_id"))
    rows = []
    for repo in repos:
        if repo.parent is None:
            continue
        parent_id = parents[repo.number]
        parent = repo.parent + 1 if held.get(repo.parent + 1) == parent_id else None
        rows.append((repo.number + 1, commits[repo.number], parent, parent_id, repo.relation, "declared",
                     when(repo.made_at)))  # fmt: skip
    return rows
