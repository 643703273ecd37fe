"""The verdicts that a repo's page and the API list: on what was made of it, on its files, on other forms of it.

A base model lists whatever was judged against it, in whichever repo it lies: so five files that all call themselves
Q4_K_M stand beside each other, the closest first.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from django.db.models import Exists, F, OuterRef, Q

from registry.access import Somebody, visible_repos, visible_validations
from registry.gates import UNKNOWN, Gates, Standing, standing_json
from registry.models import Artifact, Blob, Commit, File, Override, Repo, Validation
from registry.models.validation import ValidationQuerySet
from registry.variants import main_file, own_variants, type_in

MOST_RUNS = 2000  # read for one list; older ones of a repo with more are on the files' own pages
MOST_HISTORY = 100
REFUSED = ("damaged", "unsupported")


@dataclass(frozen=True)
class VerdictRow:
    """Bytes under one name, with what is held of them. `repo` is where this visitor finds them."""

    blob: Blob
    path: str
    repo: Repo
    parent: Commit | None
    artifact: Artifact | None = None
    standing: Standing = UNKNOWN
    n_runs: int = 0
    n_rivals: int = 0
    is_closest: bool = False

    @property
    def kind(self) -> str:
        """The quantization type that the name promises."""
        return type_in(str(PurePosixPath(self.path).with_suffix("")))

    @property
    def name(self) -> str:
        """What people call it: the recipe of what was made here, else the type."""
        return self.artifact.recipe.name if self.artifact else self.kind

    @property
    def validation(self) -> Validation | None:
        return self.standing.validation

    @property
    def verdict(self) -> str:
        return self.standing.verdict

    @property
    def url(self) -> str:
        """Where its report is."""
        return f"{self.repo.get_absolute_url()}/validation/{self.blob.sha256}"

    def as_json(self, gates: Gates) -> dict[str, Any]:
        found, parent = self.validation, self.parent
        return {
            "repo_id": self.repo.repo_id, "path": self.path, "sha256": self.blob.sha256,
            "size_bytes": self.blob.size_bytes, "type": self.kind,
            "recipe": self.artifact.recipe.name if self.artifact else None,
            "artifact": self.artifact.pk if self.artifact else None,
            "parent": {"repo_id": parent.repo.repo_id, "commit": parent.commit_hash} if parent else None,
            "verdict": self.verdict, "closest_of_type": self.is_closest, "n_runs": self.n_runs,
            "newest": validation_json(found) if found else None,
        } | standing_json(self.standing, gates.of(self.repo.repo_id))  # fmt: skip


def validation_json(row: Validation) -> dict[str, Any]:
    """One run in short; the whole of it is under its report's sha256."""
    return {
        "verdict": row.verdict, "passed": row.passed, "reason": row.reason, "mean_kld": row.mean_kld,
        "top1_agreement": row.top1_agreement, "perplexity_ratio": row.perplexity_ratio, "engine": row.engine,
        "limits_version": row.limits_version, "created_at": row.created_at, "report_sha256": row.report_sha256,
    }  # fmt: skip


def verdict_rows(repo: Repo, commit: Commit | None, user: Somebody) -> list[VerdictRow]:
    """Everything that is judged, or waits for it, best first. Seven queries, whatever the number of rows."""
    runs = list(_runs(repo, commit, user)[:MOST_RUNS])
    best: dict[int, Validation] = {}
    for run in runs:
        best.setdefault(run.blob_id, run)
    counts = Counter(run.blob_id for run in runs)
    places = _places([blob for blob, run in best.items() if run.artifact is None], repo, user)
    rows = [row for blob, run in best.items() if (row := _judged_row(run, places.get(blob)))]
    rows += _waiting(repo, commit, best.keys())
    decided = _overrides(row.blob.pk for row in rows)
    rows = [
        replace(row, standing=Standing(row.validation, decided.get(row.blob.pk)), n_runs=counts[row.blob.pk])
        for row in rows
    ]
    return sorted(_with_rivals(rows), key=_goodness)


def history_of(blob: Blob, user: Somebody) -> list[Validation]:
    """The runs on these bytes that the user may see, newest first, with their reports. One query."""
    return list(visible_validations(user).filter(blob=blob).with_places().newest_first()[:MOST_HISTORY])


def _runs(repo: Repo, commit: Commit | None, user: Somebody) -> ValidationQuerySet:
    here = File.objects.filter(commit=commit, blob=OuterRef("blob"))
    of_repo = Q(parent__repo=repo) | Q(artifact__source__repo=repo) | Q(artifact__published_in__repo=repo)
    rows = visible_validations(user).filter(of_repo | Exists(here) if commit else of_repo)
    return rows.with_places().best_known().defer("report")


def _places(blobs: Iterable[int], repo: Repo, user: Somebody) -> dict[int, File]:
    """Where each blob lies at the head of a repo that the user may see; in this repo if it does. One query."""
    seen = visible_repos(user).values("pk")
    files = File.objects.filter(blob__in=list(blobs), commit__repo__in=seen, commit__repo__head=F("commit"))
    found: dict[int, File] = {}
    for file in files.select_related("blob", "commit__repo").order_by("commit__repo__repo_id", "path"):
        if file.held.pk not in found or file.commit.repo_id == repo.pk:
            found[file.held.pk] = file
    return found


def _judged_row(run: Validation, file: File | None) -> VerdictRow | None:
    if run.artifact:
        return replace(_row_of(run.artifact, run.blob), standing=Standing(run))
    if file is None:  # no head names it any more, or only one that is none of this visitor's business
        return None
    return VerdictRow(run.blob, file.path, file.commit.repo, run.parent, standing=Standing(run))


def _row_of(artifact: Artifact, blob: Blob) -> VerdictRow:
    home = artifact.published_in.repo if artifact.published_in else artifact.source.repo
    return VerdictRow(blob, artifact.path, home, artifact.source, artifact)


def _waiting(repo: Repo, commit: Commit | None, judged: Collection[int]) -> list[VerdictRow]:
    """What nobody judged yet: artifacts of the repo, and GGUF models of the commit. Two queries."""
    of_repo = Q(source__repo=repo) | Q(published_in__repo=repo)
    artifacts = Artifact.objects.filter(of_repo).exclude(blob__in=list(judged))
    related = artifacts.select_related("blob", "recipe", "source__repo", "published_in__repo")
    rows = [_row_of(artifact, artifact.blob) for artifact in related.order_by("pk")]
    held = {*judged, *(row.blob.pk for row in rows)}
    files = [main_file(variant) for variant in own_variants(repo, commit)] if commit else []
    return rows + [
        VerdictRow(file.blob, file.path, repo, None)
        for file in files
        if file.blob and file.path.endswith(".gguf") and file.blob_id not in held
    ]


def _overrides(blobs: Iterable[int]) -> dict[int, Override]:
    rows = Override.objects.filter(blob__in=list(blobs), withdrawn_at__isnull=True)
    return {row.blob_id: row for row in rows}


def _with_rivals(rows: list[VerdictRow]) -> list[VerdictRow]:
    """Each row knows how many files there are of its type and parent, and whether it is the closest of several."""
    rivals: dict[tuple[str, int], list[VerdictRow]] = {}
    for row in rows:
        if row.parent and _distance(row) is not None and row.verdict not in REFUSED:
            rivals.setdefault((row.kind, row.parent.pk), []).append(row)
    told = {}
    for group in rivals.values():
        closest = min(group, key=lambda row: _distance(row) or 0.0)
        for row in group:
            told[row.blob.pk] = (len(group), row is closest and len(group) > 1)
    return [
        replace(row, n_rivals=told[row.blob.pk][0], is_closest=told[row.blob.pk][1])
        if row.blob.pk in told
        else row
        for row in rows
    ]


def _distance(row: VerdictRow) -> float | None:
    return row.validation.mean_kld if row.validation else None


def _goodness(row: VerdictRow) -> tuple[bool, bool, float, str]:
    """What is refused comes last, what was not measured before it, all else by its distance from the parent."""
    distance = _distance(row)
    return row.verdict in REFUSED, distance is None, distance or 0.0, row.path
