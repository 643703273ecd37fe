"""A conversion that was asked for over the API: the words of the request become a job."""

from typing import Any

from django.contrib.auth.models import User

from conversion.convert import MAX_TOGETHER, submit_conversion
from conversion.imatrices import NoImatrix, find_imatrix
from conversion.naming import NamingError
from conversion.recipes import GGUF, Choice
from registry.access import visible_repos
from registry.asked import AskedWrongly, read_text, refuse_others
from registry.incomplete import CommitIncomplete, refuse_incomplete
from registry.models import Commit, Job
from registry.revisions import DEFAULT, RevisionNotFound, resolve_revision

FIELDS = frozenset({"repo", "revision", "to", "from", "imatrix", "allow_requantize"})


def request_conversion(operator: User, asked: dict[str, Any]) -> Job:
    """The one unfinished job that makes these artifacts, as `manage.py convert --enqueue` does. Idempotent."""
    refuse_others(asked, FIELDS)
    commit = _find_commit(operator, asked)
    try:
        choices = _read_choices(commit, asked)
    except (NamingError, NoImatrix) as error:
        raise AskedWrongly(str(error)) from error
    return submit_conversion(commit, *choices, created_by=operator.username)


def _find_commit(operator: User, asked: dict[str, Any]) -> Commit:
    repo_id = read_text(asked, "repo")
    repo = visible_repos(operator).by_id(repo_id).first()
    if repo is None:
        raise AskedWrongly(f"There is no repo {repo_id!r:.200} here.", status=404, code="RepoNotFound")
    try:
        commit = resolve_revision(repo, read_text(asked, "revision") or DEFAULT)
        refuse_incomplete(commit)
    except RevisionNotFound as error:
        raise AskedWrongly(str(error), status=404, code="RevisionNotFound") from error
    except CommitIncomplete as error:
        raise AskedWrongly(str(error), status=409) from error
    return commit


def _read_choices(commit: Commit, asked: dict[str, Any]) -> list[Choice]:
    names = asked.get("to")
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not are_names or not names or len(names) > MAX_TOGETHER:
        raise AskedWrongly(f"`to` must be a list of 1 to {MAX_TOGETHER} file types, such as Q4_K_M.")
    requantises = asked.get("allow_requantize", False)
    if not isinstance(requantises, bool):
        raise AskedWrongly("`allow_requantize` must be true or false.")
    imatrix, source = read_text(asked, "imatrix"), read_text(asked, "from")
    digest = find_imatrix(commit, imatrix).blob.sha256 if imatrix else ""
    return [
        _choice(name, source=source, imatrix=digest, requantises=requantises) for name in dict.fromkeys(names)
    ]


def _choice(name: str, *, source: str, imatrix: str, requantises: bool) -> Choice:
    """A checkpoint has no importance matrix and is never quantised."""
    choice = Choice.of(name)
    if choice.format != GGUF:
        return Choice(choice.file_type, format=choice.format, source_path=source)
    return Choice(choice.file_type, imatrix=imatrix, source_path=source, requantises=requantises)
