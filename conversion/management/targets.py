"""What a person names on the command line of `validate`, `override` and `imatrix`: artifacts, or files of a repo."""

import re
from dataclasses import dataclass

from django.core.management.base import CommandError
from django.db.models import QuerySet

from registry.foreground import USAGE
from registry.incomplete import CommitIncomplete, refuse_incomplete
from registry.models import Artifact, Blob, Commit, File, Job, Repo, Validation
from registry.models.validation import UNDECIDED, ValidationQuerySet
from registry.revisions import RevisionNotFound, resolve_revision
from registry.validating import base_of, request_file_validation, request_validation
from registry.variants import Variant, find_variant, main_file, own_variants

_TARGET = re.compile(r"(?P<repo>[^@:]+/[^@:]+)(?:@(?P<revision>[^:]+))?(?::(?P<name>.+))?")


@dataclass(frozen=True)
class Target:
    """Bytes that can be judged: what was made here, or a file of a commit and what it is held against."""

    blob: Blob
    path: str
    commit: Commit
    parent: Commit | None
    artifact: Artifact | None = None
    file: File | None = None

    def request(self, *, send_nudge: bool) -> Job:
        """The one unfinished job that judges it. Idempotent."""
        if self.artifact:
            return request_validation(self.artifact, send_nudge=send_nudge)
        assert self.file is not None  # noqa: S101  # one of the two is there
        return request_file_validation(self.file, self.parent, send_nudge=send_nudge)

    @property
    def runs(self) -> ValidationQuerySet:
        """Verdicts on these bytes against this parent, newest first."""
        return Validation.objects.filter(blob=self.blob, parent=self.parent).newest_first()

    def settled(self) -> Validation | None:
        """The newest verdict that decided something; None while an artifact's publication is still open."""
        if self.artifact and self.artifact.state == Artifact.State.UNVALIDATED:
            return None
        return self.runs.exclude(verdict__in=UNDECIDED).first()

    @property
    def recipe(self) -> str | None:
        return self.artifact.recipe.name if self.artifact else None


def find_targets(text: str, parent: str | None = None) -> list[Target]:
    """The artifacts that are meant, or else the GGUF files of the commit; CommandError says what there is.

    `parent`, like org/name@revision, stands in for the base that a file's repo declares; empty: none.
    """
    if text.isdigit():
        return [_of_artifact(one) for one in find_artifacts(text)]
    match = _match(text)
    repo = _repo(match["repo"])
    artifacts = _artifacts_of(repo, match["revision"])
    if parent is None and artifacts.exists():
        return [_of_artifact(one) for one in _named(artifacts, match["name"], text)]
    commit = _commit(repo, match["revision"])
    base = base_of(repo) if parent is None else find_parent(parent)
    return [
        _of_file(file, commit, base)
        for file in _files(own_variants(repo, commit), commit, match["name"], text)
    ]


def find_artifacts(text: str) -> list[Artifact]:
    """The artifacts that a person means, by number or by repo; CommandError, saying what there is, for none."""
    if text.isdigit():
        return _some(_artifacts().filter(pk=int(text)), f"there is no artifact {text}")
    match = _match(text)
    return _named(_artifacts_of(_repo(match["repo"]), match["revision"]), match["name"], text)


def find_parent(text: str) -> Commit | None:
    """The commit that `org/name[@revision]` means; None for nothing."""
    if not text:
        return None
    match = _match(text)
    return _commit(_repo(match["repo"]), match["revision"])


def _artifacts() -> QuerySet[Artifact]:
    rows = Artifact.objects.select_related("recipe", "source__repo", "blob", "published_in__repo")
    return rows.order_by("path")


def _match(text: str) -> re.Match[str]:
    match = _TARGET.fullmatch(text)
    if match is None:
        raise CommandError(
            f"{text!r} is neither a number nor like org/name[@revision][:type]", returncode=USAGE
        )
    return match


def _repo(repo_id: str) -> Repo:
    repo = Repo.objects.by_id(repo_id).first()
    if repo is None:
        raise CommandError(f"there is no repo {repo_id} here; mirror it first", returncode=USAGE)
    return repo


def _commit(repo: Repo, revision: str | None) -> Commit:
    try:
        commit = resolve_revision(repo, revision or "main")
        refuse_incomplete(commit)
    except (CommitIncomplete, RevisionNotFound) as error:
        raise CommandError(str(error), returncode=USAGE) from None
    commit.repo = repo
    return commit


def _artifacts_of(repo: Repo, revision: str | None) -> QuerySet[Artifact]:
    published = _artifacts().filter(published_in__repo=repo)
    if revision is None and published.exists():
        return published
    return _artifacts().filter(source=_commit(repo, revision))


def _named(artifacts: QuerySet[Artifact], name: str | None, text: str) -> list[Artifact]:
    if not name:
        return _some(artifacts, f"nothing was made of {text} yet; convert it first")
    there = ", ".join(sorted({artifact.recipe.name for artifact in artifacts})) or "nothing"
    return _some(artifacts.filter(recipe__name__iexact=name), f"{text}: no such type here; there is {there}")


def _some(rows: QuerySet[Artifact], otherwise: str) -> list[Artifact]:
    found = list(rows)
    if not found:
        raise CommandError(otherwise, returncode=USAGE)
    return found


def _files(variants: list[Variant], commit: Commit, name: str | None, text: str) -> list[File]:
    """GGUF models of a commit, or the file or variant that was named."""
    if name:
        chosen = find_variant(variants, name)
        file = main_file(chosen) if chosen else commit.files.filter(path=name).select_related("blob").first()
        if file is None:
            there = ", ".join(variant.name for variant in variants) or "nothing"
            raise CommandError(f"{text}: no such type or file here; there is {there}", returncode=USAGE)
        return [file]
    found = [main_file(variant) for variant in variants if variant.path.endswith(".gguf")]
    if not found:
        raise CommandError(f"nothing was made of {text} yet; convert it first", returncode=USAGE)
    return found


def _of_artifact(artifact: Artifact) -> Target:
    return Target(artifact.blob, artifact.path, artifact.source, artifact.source, artifact)


def _of_file(file: File, commit: Commit, parent: Commit | None) -> Target:
    file.commit = commit
    return Target(file.held, file.path, commit, parent, file=file)
