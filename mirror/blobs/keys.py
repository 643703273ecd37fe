"""The names under which bytes lie in a store: made of a digest or a commit, never of what a stranger wrote.

| key                                | what                                                        |
|------------------------------------|-------------------------------------------------------------|
| `blobs/sha256/ab/cd/<64 hex>`      | immutable bytes, named by their sha256                      |
| `commits/<repo_id>/<40 hex>.json`  | the manifest of one commit                                  |
| `quarantine/<64 hex>-<time>`       | a damaged blob, set aside when good bytes came back         |
| `incoming/<name>`                  | staged bytes on their way in, nobody's truth                |
"""

import re

from mirror.blobs.errors import InvalidKey

BLOBS = "blobs/sha256/"
COMMITS = "commits/"
INCOMING = "incoming/"
MAX_KEY_CHARACTERS = 512

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,199}"
_NAME = re.compile(_SEGMENT)
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_OID = re.compile(r"[0-9a-f]{40}")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")


def blob_key(sha256: str) -> str:
    """`blobs/sha256/ab/cd/<sha256>`; anything but 64 lower-case hex digits is refused."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidKey(sha256, "a sha256 is 64 lower-case hex digits")
    return f"{BLOBS}{sha256[:2]}/{sha256[2:4]}/{sha256}"


def manifest_key(repo_id: str, commit_hash: str) -> str:
    """`commits/<repo_id>/<commit_hash>.json`."""
    if not _GIT_OID.fullmatch(commit_hash):
        raise InvalidKey(commit_hash, "a commit hash is 40 lower-case hex digits")
    return check_key(f"{COMMITS}{repo_id}/{commit_hash}.json")


def check_key(key: str) -> str:
    """The key, proven to be relative, plain ASCII, without `.` or `..` segments; else InvalidKey."""
    if len(key) > MAX_KEY_CHARACTERS:
        raise InvalidKey(key[:80] + "…", f"longer than {MAX_KEY_CHARACTERS} characters")
    if not _KEY.fullmatch(key):
        raise InvalidKey(key, "segments are A-Z a-z 0-9 . _ = + @ - and do not start with . = + @ -")
    return key


def check_target(key: str) -> str:
    """A valid key that bytes may be given as a final name: anything but `incoming/`."""
    if is_staged(check_key(key)):
        raise InvalidKey(key, "incoming/ holds staged bytes only")
    return key


def check_prefix(prefix: str) -> str:
    """A string that some valid key may start with; else InvalidKey."""
    if len(prefix) > MAX_KEY_CHARACTERS or not _PREFIX.fullmatch(prefix):
        raise InvalidKey(prefix[:80], "no key can start so")
    return prefix


def check_name(name: str) -> str:
    """A staged name: one segment of at most 200 characters, e.g. `job-17-model.safetensors`."""
    if not is_segment(name):
        raise InvalidKey(name, "a staged name is one segment of 1 to 200 of A-Z a-z 0-9 . _ = + @ -")
    return name


def is_blob_key(key: str) -> bool:
    """Whether the key promises the digest of its bytes."""
    return key.startswith("blobs/")


def is_segment(text: str) -> bool:
    """Whether it can stand between two slashes of a key."""
    return _NAME.fullmatch(text) is not None


def is_staged(key: str) -> bool:
    """Whether the key lies among bytes on their way in."""
    return key.startswith(INCOMING)


def sha256_of(key: str) -> str | None:
    """The digest that a blob key promises; None for other keys and for misplaced ones."""
    digest = key.rpartition("/")[2]
    return digest if _SHA256.fullmatch(digest) and key == blob_key(digest) else None
