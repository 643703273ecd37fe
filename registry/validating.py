"""Asking for verdicts: on what was made here, and on files that others published. Rows only; workers do the rest.

What somebody else quantised is judged against the base that its repo declares (or that tensors prove), if we hold it:
at the commit that the edge names, else at the head of the base. A file with several declared bases has none.
"""

from collections.abc import Iterable

from django.conf import settings

from registry.models import Artifact, Commit, File, Job, Lineage, Repo, Validation
from registry.variants import Variant, main_file, own_variants
from registry.work import submit

SAME_MODEL = (Lineage.Relation.QUANTIZED, Lineage.Relation.CONVERSION)
"""Relations that promise the same model in another form. A fine-tune promises to be different."""


def job_key(artifact: int | None, blob: int, parent: int | None) -> str:
    """What makes two validate jobs the same work: primary keys of an artifact, or of bytes and their parent."""
    return f"artifact:{artifact}" if artifact else f"blob:{blob}:{parent or 0}"


def request_validation(artifact: Artifact, *, created_by: str = "", send_nudge: bool = True) -> Job:
    """The one unfinished job that judges what was made here against the commit it was made from. Idempotent."""
    source = artifact.source
    return submit(
        "validate", key=job_key(artifact.pk, 0, None), label=f"validate {artifact.path}"[:300],
        params={"artifact": artifact.pk, "repo_id": source.repo.repo_id, "commit_hash": source.commit_hash},
        repo=source.repo, created_by=created_by, send_nudge=send_nudge,
    )  # fmt: skip


def request_file_validation(
    file: File, parent: Commit | None, *, created_by: str = "", send_nudge: bool = True
) -> Job:
    """The one unfinished job that judges these bytes against `parent`, under whatever path they lie. Idempotent.

    Bytes that were made here of that very parent are judged as what they are: an artifact.
    """
    own = Artifact.objects.filter(blob=file.blob_id, source=parent).select_related("source__repo").first()
    if own is not None:
        return request_validation(own, created_by=created_by, send_nudge=send_nudge)
    commit = file.commit
    return submit(
        "validate", key=job_key(None, file.held.pk, parent.pk if parent else None),
        label=f"validate {commit.repo.repo_id}/{file.path}"[:300],
        params={
            "commit": commit.pk, "path": file.path, "parent": parent.pk if parent else None,
            "repo_id": commit.repo.repo_id, "commit_hash": commit.commit_hash,
        },
        repo=_who_may_know(commit.repo, parent), created_by=created_by, send_nudge=send_nudge,
    )  # fmt: skip


def _who_may_know(repo: Repo, parent: Commit | None) -> Repo:
    """The repo whose readers may see the job: what goes wrong with a private parent is told to those who know of it."""
    return parent.repo if parent and parent.repo.private else repo


def base_of(repo: Repo) -> Commit | None:
    """The commit that the files of this repo are another form of, if exactly one is known and wholly held. One query.

    A private base counts only for a repo of the same organisation that is private, too.
    """
    edges = Lineage.objects.filter(child=repo, relation__in=SAME_MODEL, parent__isnull=False)
    found = {
        edge.parent_commit or edge.parent.head
        for edge in edges.select_related("parent__head__repo", "parent_commit__repo")
        if edge.parent is not None and _may_judge(edge.parent, repo)
    }
    base = found.pop() if len(found) == 1 else None
    return base if base and base.is_complete else None


def _may_judge(parent: Repo, child: Repo) -> bool:
    return not parent.private or (child.private and parent.organisation_id == child.organisation_id)


def request_mirrored(commit: Commit) -> list[Job]:
    """Jobs for the models of a mirrored repo's head that nobody judged yet, as HOLDFAST_VALIDATE_MIRRORED says.

    GGUF files, and beside a base the checkpoint at the top of the repo: without one it would cost a run to say no more
    than that it loads. Idempotent. A verdict against an earlier commit of the same base is enough. Three queries, and
    two a job.
    """
    wanted, repo = settings.HOLDFAST_VALIDATE_MIRRORED, commit.repo
    is_head = repo.repo_type == Repo.Type.MODEL and repo.head_id == commit.pk
    if wanted == "no" or repo.upstream_id is None or not is_head:
        return []
    base = base_of(repo)
    if base is None and wanted != "all":
        return []
    files = [main_file(variant) for variant in own_variants(repo, commit) if _is_asked_for(variant, base)]
    judged = _judged(files, base)
    return [request_file_validation(file, base) for file in files if file.blob_id not in judged]


def _is_asked_for(variant: Variant, base: Commit | None) -> bool:
    if variant.path.endswith(".gguf"):
        return True
    return base is not None and variant.path.endswith(".safetensors") and "/" not in variant.path


def request_children(repo: Repo) -> list[Job]:
    """The same for the heads of mirrored repos that say that they are this one in another form. Idempotent."""
    edges = Lineage.objects.filter(parent=repo, relation__in=SAME_MODEL, child__upstream__isnull=False)
    heads = Commit.objects.filter(pk__in=edges.values("child__head"), inspected_at__isnull=False)
    return [job for head in heads.select_related("repo") for job in request_mirrored(head)]


def _judged(files: Iterable[File], base: Commit | None) -> set[int]:
    rows = Validation.objects.filter(blob__in=[file.blob_id for file in files])
    same = rows.filter(parent__repo=base.repo) if base else rows
    return set(same.values_list("blob", flat=True))
