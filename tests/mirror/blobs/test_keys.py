"""Names that could lead elsewhere are refused by every store, in every verb, before anything is touched."""

import pytest

from mirror.blobs import BlobStore
from mirror.blobs.store import InvalidKey, blob_key

HOSTILE = [
    "", ".", "..", "/", "/etc/passwd", "../x", "a/../b", "a/..", "a/./b", "a//b", "a/", "./a", "~/x", "a\\..\\b",
    "a\0b", "a\nb", "a b", "-rf", ".hidden", "a/.hidden", "ümlaut", "a" * 600, "x/" + "a" * 201,
    "blobs/sha256/../../etc", "a%2e%2e/b", "a\n",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_could_lead_elsewhere_is_refused_everywhere(store: BlobStore, key: str) -> None:
    refused = (
        lambda: store.put(key, b"x"),
        lambda: store.open(key),
        lambda: store.read(key),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.copy(key, "a"),
        lambda: store.copy("a", key),
        lambda: store.presign(key, seconds=60) if store.name == "s3" else store.stat(key),
        lambda: store.local_path(key) if store.name == "directory" else store.stat(key),
        lambda: store.stage(key),
    )
    for act in refused:
        with pytest.raises(InvalidKey):
            act()


@pytest.mark.parametrize("prefix", ["../", "/", "a/../", "a//", "..", "ü"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(store: BlobStore, prefix: str) -> None:
    with pytest.raises(InvalidKey):
        list(store.list(prefix))


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".x", "a" * 201])
def test_a_staged_name_is_one_plain_segment(store: BlobStore, name: str) -> None:
    with pytest.raises(InvalidKey):
        store.stage(name)


def test_final_names_never_lie_among_staged_bytes(store: BlobStore) -> None:
    with pytest.raises(InvalidKey, match="staged bytes only"):
        store.put("incoming/x", b"x")
    with pytest.raises(InvalidKey, match="staged bytes only"):
        store.delete("incoming/x")


@pytest.mark.parametrize(
    "digest", ["", "ab", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n", "../" + "0" * 61]
)
def test_only_a_sha256_makes_a_blob_key(digest: str) -> None:
    with pytest.raises(InvalidKey):
        blob_key(digest)
