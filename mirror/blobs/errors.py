"""What can go wrong between us and a blob store, each with its facts and whether trying again can help."""


class StoreError(Exception):
    """A store could not do what was asked. `code` is stable; `retryable` says whether the same call may work later."""

    code = "store-error"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class InvalidKey(StoreError, ValueError):
    """A key or staged name that no store accepts; nothing was touched."""

    code = "invalid-key"

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"invalid key {key!r}: {why}. Nothing was read or written.")
        self.key = key


class KeyMissing(StoreError, KeyError):
    """Nothing is stored under the key."""

    code = "key-missing"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is not in the blob store. Run `audit` to see what else is missing.")
        self.key = key

    def __str__(self) -> str:  # KeyError would show the repr
        return self.message


class RangeError(StoreError, ValueError):
    """A byte range that does not lie inside the object."""

    code = "range-out-of-bounds"

    def __init__(self, key: str, start: int, length: int | None, size_bytes: int) -> None:
        wanted = f"bytes from {start}" if length is None else f"{length} bytes from {start}"
        super().__init__(f"{wanted} of {key} were asked for, but it has {size_bytes} bytes.")
        self.key, self.start, self.length, self.size_bytes = key, start, length, size_bytes


class DigestMismatch(StoreError):
    """Bytes are not what they were declared to be; nothing was promoted, the staged bytes are still there."""

    code = "digest-mismatch"

    def __init__(self, key: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{key}: expected {expected}, got {actual}. Nothing was stored under that name; "
            "discard the staged bytes and fetch them again."
        )
        self.key, self.expected, self.actual = key, expected, actual


class StoredDiffers(StoreError):
    """The key is taken by an object of another size: the store was damaged behind our back. It is left as it is."""

    code = "stored-differs"

    def __init__(self, key: str, expected_bytes: int, actual_bytes: int) -> None:
        super().__init__(
            f"{key} is already stored with {actual_bytes} bytes, but these are {expected_bytes}: the stored "
            "object is damaged. It was left as it is; run `audit --repair`."
        )
        self.key, self.expected_bytes, self.actual_bytes = key, expected_bytes, actual_bytes


class OutOfSpace(StoreError):
    """The store is full (disk, quota or file size limit). What was staged stays and can be resumed."""

    code = "out-of-space"
    retryable = True

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"{where} is full ({reason}). What was staged is kept; free some space or raise the quota, "
            "then run the job again: it continues where it stopped."
        )
        self.where, self.reason = where, reason


class StagedBusy(StoreError):
    """Another process is writing under this staged name."""

    code = "staged-busy"
    retryable = True

    def __init__(self, name: str) -> None:
        super().__init__(
            f"incoming/{name} is being written by another process. It ends or dies; then try again."
        )
        self.name = name


class StagedGone(StoreError):
    """What is staged under this name is no longer what was read before: thrown away, begun anew, or promoted."""

    code = "staged-gone"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"incoming/{name} is not what it was when reading began: its bytes were wrong and thrown away, or have "
            "their final name by now. Look for the blob; if there is none, begin again."
        )
        self.name = name


class StagedIncomplete(StoreError):
    """A part of what is staged is not there, or not whole; what is there stays."""

    code = "staged-incomplete"

    def __init__(self, name: str, number: int, expected_bytes: int, actual_bytes: int | None) -> None:
        have = "is not there" if actual_bytes is None else f"has {actual_bytes} bytes"
        super().__init__(
            f"part {number} of incoming/{name} should have {expected_bytes} bytes and {have}. Send it again."
        )
        self.name, self.number = name, number
        self.expected_bytes, self.actual_bytes = expected_bytes, actual_bytes


class StoreUnavailable(StoreError):
    """The store did not answer, or answered with an error of its own, more often than we retry."""

    code = "store-unavailable"
    retryable = True


class StoreRefused(StoreError):
    """The store answered and refused: credentials, permissions, a missing bucket, or a feature it lacks."""

    code = "store-refused"
