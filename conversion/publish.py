"""An artifact that passed becomes an ordinary commit of the derived repo, `org/name` -> `org/name-GGUF`.

A checkpoint becomes one of `org/name-safetensors`, in a folder with its config and tokenizer. The commit holds every
file that was published so far for the same parent commit, a model card and .gitattributes; its id is the one git
computes. `main` names the files of the newest parent: an artifact of an older one gets its
commit and its lineage, but moves nothing.

Order: small blobs and the manifest into the bucket, then every row in one transaction. Publications of several
artifacts of one parent take turns: each looks at the derived repo before and, inside the transaction, again; when
another was faster it begins anew, so no file is ever lost.
"""

import re
from collections.abc import Callable

from django.db import transaction

from conversion.derived_card import CardFile, derived_card, license_of, parents_card
from conversion.derived_files import CARD, GITATTRIBUTES, artifact_entries
from conversion.inference.report import Report
from conversion.recipes import CHECKPOINT_NAMES, GGUF, SAFETENSORS
from mirror.blobs import BlobStore
from mirror.committing import (
    Draft,
    Letter,
    move_branch,
    put_draft,
    put_small,
    record_draft,
    withdraw_draft,
)
from mirror.store import blob_store
from registry.models import Artifact, Commit, Event, Lineage, Repo, Validation
from registry.revisions import DEFAULT
from registry.work import JobFailed, Lease, submit

AGENT = "holdfast publication"
NAME, EMAIL = "Holdfast", "holdfast@localhost"
SUFFIXES = {GGUF: "-GGUF", SAFETENSORS: "-safetensors"}
UNQUANTISED = frozenset({"F32", "F16", "BF16", *CHECKPOINT_NAMES})
MAX_TURNS = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class _Overtaken(Exception):
    """Another publication moved the derived repo meanwhile; the draft is thrown away."""


def derived_repo_id(repo_id: str, format_name: str = GGUF) -> str:
    """The repo in which conversions of `repo_id` to that format appear."""
    return repo_id + SUFFIXES[format_name]


def publish(
    lease: Lease, artifact: Artifact, report: Report, *, record: Callable[[], Validation]
) -> tuple[Commit, Validation]:
    """The artifact is in a commit of the derived repo that `main` names, with lineage to its exact parent.

    Returns that commit and the verdict, which `record` writes in the same transaction, under the lease's guard.
    Raises JobFailed `repo-taken`, `bad-repo-id`, or `publication-busy`, which a retry can help.
    """
    repo = _derived_repo(artifact)
    for _ in range(MAX_TURNS):
        seen = _published(artifact)
        draft = _put_draft(blob_store(), repo, artifact, report, seen)
        try:
            with transaction.atomic():
                lease.guard()
                return _record(repo, artifact, draft, seen), record()
        except _Overtaken:
            withdraw_draft(repo, draft)
            repo.refresh_from_db()
    raise JobFailed(
        "publication-busy",
        f"{repo.repo_id} kept changing while {artifact.path} was published",
        retryable=True,
    )


# --- before the transaction: the repo's row, small blobs, the manifest -------------------------------------


def _derived_repo(artifact: Artifact) -> Repo:
    source = artifact.source.repo
    repo_id = derived_repo_id(source.repo_id, artifact.recipe.format)
    name = repo_id.partition("/")[2]
    if not _NAME.fullmatch(name):
        raise JobFailed(
            "bad-repo-id", f"{repo_id} is too long for the name of a repo; nothing was published."
        )
    repo = Repo.objects.by_id(repo_id).filter(repo_type=source.repo_type).first()
    if repo is None:
        repo, _ = Repo.objects.get_or_create(
            repo_id=repo_id, repo_type=source.repo_type,
            defaults={
                "namespace": source.namespace, "name": name, "private": source.private,
                "gated": source.gated, "organisation": source.organisation,
            },
        )  # fmt: skip
    if repo.upstream_id is not None:
        raise JobFailed(
            "repo-taken",
            f"{repo_id} is mirrored from {repo.upstream}, so {artifact.path} cannot be published in it. "
            "Mirror that repo under another name.",
        )
    return repo


def _published(artifact: Artifact) -> list[Artifact]:
    """The other artifacts of the same parent commit and format that are out."""
    same = {"source": artifact.source, "recipe__format": artifact.recipe.format}
    others = Artifact.objects.filter(**same, state=Artifact.State.PUBLISHED).exclude(pk=artifact.pk)
    return list(others.select_related("blob", "recipe", "published_in").order_by("path"))


def _is_of_newest_parent(repo: Repo, artifact: Artifact) -> bool:
    out = Artifact.objects.filter(published_in__repo=repo, state=Artifact.State.PUBLISHED)
    return not out.filter(source__recorded_at__gt=artifact.source.recorded_at).exists()


def _parents(repo: Repo, artifact: Artifact) -> tuple[str, ...]:
    """What the next commit follows: `main`, or for an older parent the last commit made of it."""
    if _is_of_newest_parent(repo, artifact):
        return (repo.head.commit_hash,) if repo.head else ()
    mine = Commit.objects.filter(repo=repo, published_artifacts__source=artifact.source)
    last = mine.order_by("-recorded_at", "-pk").first()
    return (last.commit_hash,) if last else ()


def _put_draft(
    store: BlobStore, repo: Repo, artifact: Artifact, report: Report, seen: list[Artifact]
) -> Draft:
    """The commit that adds the artifact to the files in `seen`: its small blobs and manifest are in the bucket."""
    own = parents_card(store, artifact.source)
    files = _card_files(artifact, report, seen)
    card = derived_card(repo.repo_id, artifact.source, own, files, artifact.recipe.format)
    attributes = GITATTRIBUTES[artifact.recipe.format]
    entries = [put_small(store, CARD, card), put_small(store, ".gitattributes", attributes)]
    entries += [entry for one in (*seen, artifact) for entry in artifact_entries(store, one)]
    source = artifact.source
    letter = Letter(
        NAME, EMAIL, f"Add {artifact.path}", f"Made from {source.repo.repo_id}@{source.commit_hash}."
    )
    lineage = [
        {"relation": relation, "repo_id": source.repo.repo_id, "commit_hash": source.commit_hash,
         "declared_by": "made here"}
        for relation in sorted({_relation(one) for one in (*seen, artifact)})
    ]  # fmt: skip
    return put_draft(
        store, repo, entries, letter, parents=_parents(repo, artifact), recorded_by=AGENT,
        license_id=license_of(source, own), lineage=lineage,
    )  # fmt: skip


def _card_files(artifact: Artifact, report: Report, seen: list[Artifact]) -> list[CardFile]:
    own = [CardFile.of(artifact, report.as_json())]
    return sorted([*own, *(CardFile.of(one, _last_report(one)) for one in seen)], key=lambda file: file.path)


def _last_report(artifact: Artifact) -> dict[str, object]:
    row = artifact.validations.filter(passed=True).order_by("-created_at", "-pk").first()
    return dict(row.report) if row else {}


def _relation(artifact: Artifact) -> str:
    plain = artifact.recipe.name in UNQUANTISED
    return Lineage.Relation.CONVERSION if plain else Lineage.Relation.QUANTIZED


# --- the transaction --------------------------------------------------------------------------------------


def _record(repo: Repo, artifact: Artifact, draft: Draft, seen: list[Artifact]) -> Commit:
    """Every row of the publication. Raises _Overtaken when the draft is no longer the repo's next commit."""
    locked = Repo.objects.select_for_update(of=("self",)).select_related("head").get(pk=repo.pk)
    is_moved = locked.repo_id != repo.repo_id  # the manifest lies under the old name
    if (
        is_moved
        or _parents(locked, artifact) != draft.parents
        or [one.pk for one in _published(artifact)] != [one.pk for one in seen]
    ):
        raise _Overtaken
    source = artifact.source
    commit = record_draft(locked, draft, license=source.license, pipeline_tag=source.pipeline_tag)
    artifact.state, artifact.published_in = Artifact.State.PUBLISHED, commit
    artifact.save(update_fields=["state", "published_in"])
    if _is_of_newest_parent(locked, artifact):
        _move_main(locked, artifact, commit)
    _note(artifact, commit)
    return commit


def _move_main(repo: Repo, artifact: Artifact, commit: Commit) -> None:
    source = artifact.source
    move_branch(repo, DEFAULT, commit)
    Lineage.objects.update_or_create(
        child=repo, parent_repo_id=source.repo.repo_id, relation=_relation(artifact),
        evidence=Lineage.Evidence.MADE_HERE,
        defaults={"parent": source.repo, "parent_commit": source, "child_commit": commit},
    )  # fmt: skip


def _note(artifact: Artifact, commit: Commit) -> None:
    source = artifact.source
    Event.objects.create(
        type=Event.Type.PUBLICATION, agent=AGENT, repo=commit.repo, commit=commit, blob=artifact.blob,
        artifact=artifact,
        summary=f"published {artifact.path} in {commit.repo.repo_id}@{commit.commit_hash[:8]}"[:500],
        detail={"parent": source.repo.repo_id, "parent_commit": source.commit_hash},
    )  # fmt: skip
    label = f"inspect {commit.repo.repo_id}@{commit.commit_hash[:8]}"
    submit("inspect", key=str(commit.pk), label=label, params={"commit": commit.pk}, repo=commit.repo)
