"""What the API answers when it cannot do what was asked: status, X-Error-Code and a sentence.

Clients decide by the header, people read the sentence. The order of checks is repo, revision, entry. A private
repo and a missing one give the very same answer.
"""

import math

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.through.asking import UpstreamTrouble
from registry.access import Somebody
from registry.models import Job, Repo

LONGEST_MESSAGE = 500
FINAL_TROUBLE = frozenset({
    "access-denied", "address-refused", "bad-answer", "bad-listing", "entry-not-found", "held-for-review",
    "html-instead-of-file", "listing-differs", "manifest-differs", "pointer-instead-of-file", "repo-not-found",
    "revision-not-found", "wrong-commit", "wrong-digest", "wrong-size",
})  # fmt: skip


class HubError(Exception):
    """An answer that is not a success. `code` is the X-Error-Code that clients know, or empty."""

    def __init__(self, status: int, message: str, *, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> HttpResponse:
        """The response: JSON for programs, X-Error-Message for those that send HEAD."""
        response = JsonResponse({"error": self.message}, status=self.status, headers=self.headers)
        response["X-Error-Message"] = header_text(self.message)
        response["Cache-Control"] = "no-store"
        if self.code:
            response["X-Error-Code"] = self.code
        return response


def header_text(text: str) -> str:
    """The text as a header may carry it: one line of printable ASCII."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:LONGEST_MESSAGE])


def bad_token() -> HubError:
    """A token that is wrong, ended or withdrawn. The text is what clients compare."""
    return HubError(401, "Invalid credentials in Authorization header")


def repo_not_found(user: Somebody, repo_id: str) -> HubError:
    """Missing, or none of this user's business: 401 invites strangers to sign in, 404 is final."""
    if user.is_authenticated:
        message = f"Repository not found: {repo_id}. Check the spelling, or ask its owners for access."
        return HubError(404, message, code="RepoNotFound")
    message = f"Repository not found: {repo_id}. Check the spelling; if it is private, send an access token."
    return HubError(401, message, code="RepoNotFound")


def revision_not_found(repo_id: str, revision: str) -> HubError:
    message = (
        f"{repo_id} has no revision {revision!r} here. Its branches and tags: /api/models/{repo_id}/refs."
    )
    return HubError(404, message, code="RevisionNotFound")


def entry_not_found(repo_id: str, commit_hash: str, path: str) -> HubError:
    """Carries X-Repo-Commit: clients remember that the file is absent from this commit."""
    message = f"{path!r} does not exist in {repo_id}@{commit_hash[:12]}."
    return HubError(404, message, code="EntryNotFound", X_Repo_Commit=commit_hash)


def gated(user: Somebody, repo: Repo) -> HubError:
    """The metadata is public, the files need an account here, or are for members of its organisation."""
    status = 403 if user.is_authenticated else 401
    message = f"{repo.repo_id} is gated where it comes from: its files need an access token of this registry."
    if repo.organisation_id is not None and repo.upstream_id is None:
        message = (
            f"Access to {repo.repo_type} {repo.repo_id} is restricted and you are not in the authorized list: "
            f"its files are for members of {repo.namespace}. Its owners let people in."
        )
    return HubError(status, message, code="GatedRepo")


def bytes_unavailable(repo_id: str, commit_hash: str, path: str, state: str) -> HubError:
    """We know the file and cannot give its true bytes. Never 404: clients would remember it as absent."""
    message = (
        f"{path} of {repo_id}@{commit_hash[:12]} is {state} in this registry's blob store, so it is not served. "
        "Its operator repairs it with `manage.py audit --repair`."
    )
    return HubError(503, message, code="BytesUnavailable", X_Repo_Commit=commit_hash)


REBUILD_SECONDS = 30
"""When to ask again for a file whose job says nothing of its end."""


def being_rebuilt(repo_id: str, commit_hash: str, path: str, job: Job | None) -> HubError:
    """The bytes were let go because their recipe makes them again, and that has been asked for. Come back later."""
    if job is None:
        return bytes_unavailable(repo_id, commit_hash, path, "evicted, without an artifact to make it again,")
    message = (
        f"{path} of {repo_id}@{commit_hash[:12]} was evicted to save room and is being rebuilt from its recipe "
        f"(job {job.pk}). Ask again in a while; it will have the same sha256."
    )
    return HubError(
        503, message, code="BytesRebuilding", X_Repo_Commit=commit_hash, Retry_After=str(REBUILD_SECONDS)
    )


def upstream_trouble(trouble: UpstreamTrouble, commit_hash: str = "") -> HubError:
    """Upstream cannot or will not give what we do not hold. Never 401 or 404: clients would take it for absent.

    502: upstream answers wrongly, and asking again soon does not help; 503: it may help, after Retry-After seconds.
    """
    about = {"X_Repo_Commit": commit_hash} if commit_hash else {}
    if trouble.code == "gated-repo":
        return HubError(403, trouble.message, code="GatedRepo", **about)
    if trouble.code in FINAL_TROUBLE:
        return HubError(502, trouble.message, code="UpstreamTrouble", **about)
    seconds = math.ceil(max(trouble.retry_after_seconds or 1.0, 1.0))
    return HubError(503, trouble.message, code="UpstreamTrouble", Retry_After=str(seconds), **about)


def bad_request(message: str) -> HubError:
    return HubError(400, message)


def warn(request: HttpRequest, warning: str) -> None:
    """Whatever the answer will be, it carries `X-HF-Warning: topic; message`, which clients show; nothing if empty."""
    if warning:
        request.META["holdfast.warning"] = warning


def warning_for(request: HttpRequest) -> str:
    """What `warn` left for the answer to this request."""
    return str(request.META.get("holdfast.warning", ""))
