"""What to fetch: the remote tree, checked, minus what we hold."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from django.db.models import Q

from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from mirror.upstream.base import BadListing, RemoteCommit, RemoteFile
from registry.models import Blob, File

MAX_PATH_CHARACTERS = 1024  # what a File row holds
MAX_NAME_BYTES = 255  # what a file system on the way to the user holds
QUERY_SIZE = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """All files of a commit, and which of their bytes must come from upstream.

    A file's `digest` is the sha256 of an LFS object or the git oid of any other file. `held` gives the sha256 of
    the blob with those bytes; `needed` has each missing digest once, the largest first. The digests in `broken` are
    needed although the store has something of that name: it is not what it should be.
    """

    files: list[RemoteFile]
    held: dict[str, str]
    needed: list[RemoteFile]
    broken: frozenset[str] = frozenset()

    @property
    def bytes_total(self) -> int:
        """The size of all files, each distinct content once."""
        return sum(sizes_by_digest(self.files).values())

    @property
    def missing(self) -> set[str]:
        """The digests that must come from upstream."""
        return {file.digest for file in self.needed}

    @property
    def bytes_needed(self) -> int:
        return sum(file.size_bytes for file in self.needed)


def make_plan(
    store: BlobStore, files: list[RemoteFile], *, done: dict[str, str] | None = None, endpoint: str = ""
) -> Plan:
    """What of these files is held and what is not. The list must have passed `check_listing`.

    Held means: the catalog or an earlier attempt of the same job (`done`: digest -> sha256) knows the blob, or an
    LFS object of that sha256 is in the store already, the store has it with the right size, and no audit found it
    damaged since. Bytes that only private or gated repos have are fetched all the same, unless they came from this
    `endpoint`: an upstream that merely knows their digest must not get them published under its own name. A few
    queries per 500 files, one `stat` per file that may be held.
    """
    sizes = sizes_by_digest(files)
    known = {digest: sha256 for digest, sha256 in (done or {}).items() if digest in sizes}
    known |= _by_git_oid(file.digest for file in files if not file.lfs_sha256)
    known |= {file.lfs_sha256: file.lfs_sha256 for file in files if file.lfs_sha256}
    fetched = set((done or {}).values())
    damaged = _damaged(known.values()) - fetched
    secret = _secret(known.values(), endpoint) - fetched
    held, broken = {}, set()
    for digest, sha256 in known.items():
        found = store.stat(blob_key(sha256))
        if found and found.size_bytes == sizes[digest] and sha256 not in damaged:
            if sha256 not in secret:
                held[digest] = sha256
        elif found:
            broken.add(digest)
    missing = {file.digest: file for file in files if file.digest not in held}
    return Plan(files, held, sorted(missing.values(), key=lambda file: -file.size_bytes), frozenset(broken))


def sizes_by_digest(files: Iterable[RemoteFile]) -> dict[str, int]:
    return {file.digest: file.size_bytes for file in files}


def _by_git_oid(oids: Iterable[str]) -> dict[str, str]:
    """The sha256 of blobs that git would give these ids. Trusting sha1 here is trusting what upstream's ids are."""
    rows = (Blob.objects.filter(git_oid__in=some) for some in _batches(set(oids)))
    return {str(blob.git_oid): blob.sha256 for some in rows for blob in some}


def _damaged(digests: Iterable[str]) -> set[str]:
    """Those that the last check found broken: they must be fetched again, whatever the store says."""
    rows = (Blob.objects.filter(sha256__in=some, state=Blob.State.DAMAGED) for some in _batches(set(digests)))
    return {blob.sha256 for some in rows for blob in some}


def _secret(digests: Iterable[str], endpoint: str) -> set[str]:
    """Those that we hold for others only: every repo that has them is private or gated, and from elsewhere."""
    somebodys: set[str] = set()
    sharable: set[str] = set()
    ours = Q(commit__repo__private=False, commit__repo__gated="") | Q(
        commit__repo__upstream__endpoint=endpoint
    )
    for some in _batches(set(digests)):
        rows = File.objects.filter(blob__sha256__in=some)
        somebodys |= set(rows.values_list("blob__sha256", flat=True).distinct())
        sharable |= set(rows.filter(ours).values_list("blob__sha256", flat=True).distinct())
    return somebodys - sharable


def _batches(values: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, QUERY_SIZE)):
        yield some


# --- is the list one that we can keep? --------------------------------------------------------------------


def check_listing(commit: RemoteCommit, files: list[RemoteFile]) -> None:
    """Raises BadListing, naming the path, unless every path is a plain relative one and says one thing only."""
    sizes: dict[str, int] = {}
    for file in files:
        if why := what_is_wrong(file):
            raise BadListing(commit.repo_id, commit.commit_hash, file.path, why)
        if sizes.setdefault(file.digest, file.size_bytes) != file.size_bytes:
            raise BadListing(
                commit.repo_id, commit.commit_hash, file.path, "the same digest with another size"
            )
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            raise BadListing(commit.repo_id, commit.commit_hash, file.path, "which is listed twice")
        seen.add(file.path)
    for file in files:
        for folder in _folders_of(file.path):
            if folder in seen:
                raise BadListing(
                    commit.repo_id, commit.commit_hash, folder, "which is a file and a folder at once"
                )


def _folders_of(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def what_is_wrong(file: RemoteFile) -> str:
    """Why this file cannot be kept; empty when it can. Case is not judged: two paths may differ in it only."""
    if not file.digest:
        return "which has neither a sha256 nor a git oid"
    if not file.path or len(file.path) > MAX_PATH_CHARACTERS:
        return f"which is not 1 to {MAX_PATH_CHARACTERS} characters long"
    if file.path.startswith("/"):
        return "which is absolute"
    if "\\" in file.path:
        return "which has a backslash, a folder separator on Windows"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in file.path):
        return "which has a control character"
    return next((why for name in file.path.split("/") if (why := _wrong_name(name))), "")


def _wrong_name(name: str) -> str:
    if name in ("", ".", ".."):
        return f"with {name!r} as a name, which would lead elsewhere"
    if name.lower() == ".git":
        return "which would be git's own folder"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"with a name of more than {MAX_NAME_BYTES} bytes"
    return ""
