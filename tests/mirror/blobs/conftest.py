"""Both stores, the S3 one on a real server that is started once per session."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.blobs import BlobStore, store_from_url
from tests.services.objectstore import running_weed


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket: the run's own server if it has one, else one started here. Missing weed is an error, not a skip."""
    if given := os.environ.get("HOLDFAST_TEST_STORE_URL"):
        yield given
        return
    with running_weed(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture
def s3_store_url(s3_url: str) -> str:
    """A prefix of the bucket that nobody else uses, with the smallest parts, so that 5 MiB are many bytes."""
    place, _, options = s3_url.partition("?")
    return f"{place.rstrip('/')}/{uuid.uuid4().hex}?{options}&part_mib=5"


@pytest.fixture(params=["directory", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind in turn."""
    if request.param == "directory":
        return f"file://{tmp_path}/store"
    url: str = request.getfixturevalue("s3_store_url")
    return url


@pytest.fixture
def store(store_url: str) -> BlobStore:
    """An empty store, of each kind in turn."""
    return store_from_url(store_url)


@pytest.fixture
def s3_store(s3_store_url: str) -> BlobStore:
    """An empty S3 store, for what only it can do."""
    return store_from_url(s3_store_url)
