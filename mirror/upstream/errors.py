"""What can go wrong between us and an upstream: one exception each, with its facts and whether waiting helps."""

from typing import Any


class UpstreamError(Exception):
    """An upstream could not or would not give what was asked. `code` is stable; `facts` is for machines."""

    code = "upstream-error"
    retryable = False
    retry_after_seconds: float | None = None

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message, self.facts = message, facts


class BadUpstreamRef(UpstreamError):
    """What a person typed names no upstream."""

    code = "bad-upstream-ref"

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f"{text!r} does not name an upstream: {why}. "
            "Write hf://org/name, hf://org/name@revision, hf+http://host:port/org/name or dir:/path.",
            text=text,
        )
        self.text, self.why = text, why


class RepoNotFound(UpstreamError):
    """Upstream has no such repo, or does not show it to us: the two cannot be told apart."""

    code = "repo-not-found"

    def __init__(self, repo_id: str, where: str) -> None:
        super().__init__(
            f"{repo_id} does not exist at {where}, or is hidden from us. Check the spelling; a private or gated "
            "repo needs a token (HF_TOKEN, or HOLDFAST_UPSTREAM_TOKENS for another host).",
            repo_id=repo_id,
            where=where,
        )
        self.repo_id, self.where = repo_id, where


class RevisionNotFound(UpstreamError):
    """The repo is there, the branch, tag or commit is not."""

    code = "revision-not-found"

    def __init__(self, repo_id: str, revision: str, where: str) -> None:
        super().__init__(
            f"{repo_id} at {where} has no revision {revision!r}. Name one of its branches or tags, or a commit hash.",
            repo_id=repo_id,
            revision=revision,
        )
        self.repo_id, self.revision, self.where = repo_id, revision, where


class EntryNotFound(UpstreamError):
    """Upstream lists the file but does not have it."""

    code = "entry-not-found"

    def __init__(self, repo_id: str, commit_hash: str, path: str, where: str) -> None:
        super().__init__(
            f"{repo_id}@{commit_hash[:8]} {path}: {where} does not have this file, although it belongs to the "
            "commit. Nothing was published; run the job again, and ask upstream's owner if it repeats.",
            repo_id=repo_id,
            commit_hash=commit_hash,
            path=path,
        )
        self.repo_id, self.commit_hash, self.path = repo_id, commit_hash, path


class AccessDenied(UpstreamError):
    """Upstream knows the repo and refuses us."""

    code = "access-denied"

    def __init__(self, repo_id: str, where: str, status: int, *, gated: bool = False, said: str = "") -> None:
        why = "is gated: accept its terms there with the account of the token" if gated else "refuses us"
        quote = f" It says: {said[:200]!r}." if said else ""
        super().__init__(
            f"{repo_id} at {where} {why} (status {status}).{quote} "
            "Set HF_TOKEN, or HOLDFAST_UPSTREAM_TOKENS for another host, to a token that may read it.",
            repo_id=repo_id,
            where=where,
            status=status,
        )
        self.repo_id, self.where, self.status, self.gated = repo_id, where, status, gated
        if gated:
            self.code = "gated-repo"


class RateLimited(UpstreamError):
    """Upstream asks us to come back later; the work is parked, not failed."""

    code = "rate-limited"
    retryable = True
    retry_after_seconds: float

    def __init__(self, where: str, retry_after_seconds: float) -> None:
        super().__init__(
            f"{where} asks us to wait {retry_after_seconds:.0f} seconds. The job goes on by itself after that.",
            where=where,
            retry_after_seconds=retry_after_seconds,
        )
        self.where, self.retry_after_seconds = where, retry_after_seconds


class NotOurTurn(RateLimited):
    """Others ask this upstream too, or it asked us to wait: our next request would be sent only after that time.

    Nothing was sent. The pace is ours, so that coming back in time is all that it takes.
    """

    code = "not-our-turn"

    def __init__(self, where: str, retry_after_seconds: float) -> None:
        super().__init__(where, retry_after_seconds)
        self.message = (
            f"{where} is asked no faster than it bears; our turn is in {retry_after_seconds:.1f} seconds. "
            "The job goes on by itself then."
        )
        self.args = (self.message,)


class UpstreamUnavailable(UpstreamError):
    """Upstream cannot be reached, is in trouble, or the connection ended early."""

    code = "upstream-unavailable"
    retryable = True

    def __init__(self, where: str, what: str, reason: str) -> None:
        super().__init__(
            f"{where} could not be read while asking for {what}: {reason}. What has arrived is kept; "
            "trying again goes on from there.",
            where=where,
            what=what,
            reason=reason,
        )
        self.where, self.what, self.reason = where, what, reason


class BadAnswer(UpstreamError):
    """Upstream answered with something that a hub never says."""

    code = "bad-answer"

    def __init__(self, where: str, what: str, why: str) -> None:
        super().__init__(
            f"{where} answered nonsense for {what}: {why}. Is it a Hub-compatible endpoint? Nothing was stored.",
            where=where,
            what=what,
        )
        self.where, self.what, self.why = where, what, why


class BadListing(UpstreamError):
    """The list of files cannot be stored as it is."""

    code = "bad-listing"

    def __init__(self, repo_id: str, commit_hash: str, path: str, why: str) -> None:
        super().__init__(
            f"{repo_id}@{commit_hash[:8]} cannot be mirrored: its file list has {path[:200]!r}, {why}. "
            "Nothing was downloaded; tell upstream's owner.",
            repo_id=repo_id,
            commit_hash=commit_hash,
            path=path,
        )
        self.repo_id, self.commit_hash, self.path, self.why = repo_id, commit_hash, path, why


class WrongBytes(UpstreamError):
    """What upstream sends is not the file it lists. Codes: wrong-size, wrong-digest, html-instead-of-file,
    pointer-instead-of-file, wrong-commit."""

    code = "wrong-digest"

    def __init__(
        self,
        repo_id: str,
        commit_hash: str,
        path: str,
        expected: str,
        actual: str,
        *,
        code: str = "wrong-digest",
    ) -> None:
        super().__init__(
            f"{repo_id}@{commit_hash[:8]} {path}: expected {expected}, got {actual}. "
            "The partial file was removed and nothing was published; run the job again, "
            "and tell upstream's owner if it repeats.",
            repo_id=repo_id,
            commit_hash=commit_hash,
            path=path,
            expected=expected,
            actual=actual,
        )
        self.code = code
        self.repo_id, self.commit_hash, self.path = repo_id, commit_hash, path
        self.expected, self.actual = expected, actual


class AddressRefused(UpstreamError):
    """A URL or redirect leads where we do not go."""

    code = "address-refused"

    def __init__(self, url: str, why: str, authority: str = "") -> None:
        allow = f" If that is meant, add {authority} to HOLDFAST_UPSTREAM_ALLOW." if authority else ""
        super().__init__(f"{url} is refused: {why}.{allow}", url=url)
        self.url, self.why, self.authority = url, why, authority
