"""Everything that can go wrong, as a person and as a program should hear of it.

Each error carries a stable `code` (the field of the same name in `--json`), the exit code of the process, the facts as
attributes, a message that says what happened to which object, and a hint that says what to do next.
`retryable` says whether the same request, sent again, may succeed.
"""

from __future__ import annotations

from typing import Any

OK = 0
FAILED = 1
USAGE = 2
NOTHING_MATCHED = 23
INTERRUPTED = 130


class HoldfastError(Exception):
    """An expected failure. `facts` are the named values behind the message."""

    code = "failed"
    exit_code = FAILED
    retryable = False

    def __init__(self, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def as_json(self) -> dict[str, Any]:
        """The error as `--json` prints it."""
        return {
            "code": self.code,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            **self.facts,
        }


class UsageError(HoldfastError):
    """The command line or a setting cannot be understood."""

    code = "usage"
    exit_code = USAGE


class NotFound(HoldfastError):
    """Nothing matches: no such repo, revision, path, variant or cached repo."""

    code = "not_found"
    exit_code = NOTHING_MATCHED


class RepoNotFound(NotFound):
    """The index does not know the name at all: only then may the next index be asked."""


class AmbiguousVariant(HoldfastError):
    """Several variants match and nobody may be asked; `choices` lists them."""

    code = "ambiguous_variant"


class AuthFailed(HoldfastError):
    """The index does not accept the token, or wants one."""

    code = "auth"


class Gated(HoldfastError):
    """The repo exists, and its conditions have not been accepted with this token."""

    code = "gated"


class NetworkError(HoldfastError):
    """The index could not be reached, broke off, or answered with a server error."""

    code = "network"
    retryable = True


class RateLimited(NetworkError):
    """The index asks for a pause of `retry_after_seconds` (None: it did not say how long)."""

    code = "rate_limited"


class BadAnswer(HoldfastError):
    """The index answered, but not as a Hub-compatible index does."""

    code = "bad_answer"


class Refused(HoldfastError):
    """The index understood what it was asked to do, and will not do it."""

    code = "refused"


class WorkFailed(HoldfastError):
    """The server tried what it was asked to do, and failed, or somebody cancelled it."""

    code = "work_failed"


class ProgramMissing(HoldfastError):
    """Another program is needed, and is not installed."""

    code = "program_missing"


class UnsafePath(HoldfastError):
    """A file name in the listing could be written outside its folder, or over another file."""

    code = "unsafe_path"


class HashMismatch(HoldfastError):
    """Bytes arrived whose size or digest is not the one listed. They were removed."""

    code = "hash_mismatch"


class HashMissing(HoldfastError):
    """--require-hashes was given, and a file has none."""

    code = "hash_missing"


class PolicyDenied(HoldfastError):
    """A constraint forbids it: licence, format, size or revision. `rules` are the lines that say so."""

    code = "policy_denied"


class NotValidated(HoldfastError):
    """A passing verdict is required, and the index has none for some weights (`paths`)."""

    code = "not_validated"


class BadLock(HoldfastError):
    """A lock file that cannot be used: damaged, from a later version, or with a branch where a commit belongs."""

    code = "bad_lock"


class LockOutdated(HoldfastError):
    """The lock does not say what the requirements ask for; `differences` lists how."""

    code = "lock_outdated"


class SignatureInvalid(HoldfastError):
    """A bundle is not signed as asked, or could not be signed."""

    code = "signature_invalid"


class NoSpace(HoldfastError):
    """The disk cannot hold what was asked for."""

    code = "no_space"


class NotWritable(HoldfastError):
    """The cache or the destination folder cannot be written."""

    code = "not_writable"


class FileInTheWay(HoldfastError):
    """The destination holds another file of that name, and `--force` was not given."""

    code = "file_exists"


class Unreadable(HoldfastError):
    """A file that was named cannot be read, or is none."""

    code = "unreadable"


class DoesNotFit(HoldfastError):
    """No variant fits in the memory of this machine (`needed_bytes`, `free_bytes`)."""

    code = "does_not_fit"


class Offline(HoldfastError):
    """Offline, and the cache does not hold all that was asked for."""

    code = "offline"


class Declined(HoldfastError):
    """The person at the terminal said no."""

    code = "declined"


class InUse(HoldfastError):
    """Another process is pulling into what was to be removed."""

    code = "in_use"
    retryable = True
