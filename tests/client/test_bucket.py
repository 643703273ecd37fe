"""A server's blob store read without it: from a real S3 service, presigned or anonymous, and from its folder."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from holdfast.errors import UsageError
from holdfast.sources.s3 import bucket_address
from holdfast.sources.signing import Credentials, credentials_from, presign

from mirror.blobs import store_from_url
from mirror.blobs.store import BlobStore, blob_key
from mirror.manifest import ManifestFile, manifest_bytes, write_manifest
from registry import git
from tests.client.conftest import CONFIG, LARGE, SMALL
from tests.client.running import Home
from tests.services.objectstore import ACCESS_KEY, BUCKET, SECRET_KEY, running_weed

NOTHING_MATCHED = 23
FILES = {"config.json": CONFIG, "model.safetensors": LARGE, "sub folder/vocab+é#1.txt": SMALL}
FIRST, SECOND, BRANCHED = "1" * 40, "2" * 40, "3" * 40


class Bucket(NamedTuple):
    """A running S3 service with a server's store in it, under the prefix `models`."""

    endpoint: str
    client: Any

    @property
    def place(self) -> str:
        return f"s3+{self.endpoint}/{BUCKET}/models"


def fill(store: BlobStore) -> None:
    """org/model with two commits and a branch, as a server that mirrored them would have it."""
    record(store, "org/model", FIRST, {"config.json": CONFIG}, day=1)
    record(store, "org/model", SECOND, FILES, day=2, parents=[FIRST])
    record(store, "org/branched", FIRST, {"config.json": CONFIG}, day=1)
    record(store, "org/branched", BRANCHED, {"config.json": b"{}"}, day=2)
    upstream = {"kind": "hf", "endpoint": "x", "repo_id": "org/mirrored", "revision": "main"}
    record(store, "org/mirrored", FIRST, {"config.json": CONFIG}, day=1, upstream=upstream)
    record(store, "org/mirrored", SECOND, FILES, day=2, upstream=upstream)
    record(
        store,
        "org/mirrored",
        BRANCHED,
        {"config.json": CONFIG},
        day=3,
        upstream={**upstream, "revision": "dev"},
    )


def record(
    store: BlobStore, repo_id: str, commit: str, files: dict[str, bytes], *, day: int, **facts: Any
) -> None:
    listed = []
    for path, data in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(blob_key(sha256), data)
        listed.append(
            ManifestFile(path, len(data), sha256, git.git_blob_oid(data), path.endswith(".safetensors"))
        )
    manifest = manifest_bytes(
        repo_id=repo_id, repo_type="model", commit_hash=commit, title="", message="", author="", committed_at=None,
        recorded_at=datetime(2026, 1, day, tzinfo=UTC), files=listed, **{"parents": [], **facts},
    )  # fmt: skip
    write_manifest(store, repo_id, commit, manifest)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with running_weed(tmp_path_factory.mktemp("weed")) as url:
        base, _, options = url.partition("?")
        fill(store_from_url(f"{base}/models?{options}"))
        endpoint = parse_qs(options)["endpoint"][0]
        keys = {
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "region_name": "us-east-1",
        }
        yield Bucket(endpoint, boto3.client("s3", endpoint_url=endpoint, **keys))


@pytest.fixture
def home(bucket: Bucket, tmp_path: Path) -> Home:
    """A person with the keys of the bucket and no index."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return Home(
        tmp_path, "http://127.0.0.1:9",
        {**keys, "HOLDFAST_FIND_LINKS": bucket.place, "HOLDFAST_NO_INDEX": "1", "HOLDFAST_TOKEN": "not-for-S3"},
    )  # fmt: skip


def test_a_commit_comes_straight_from_the_bucket(home: Home, bucket: Bucket) -> None:
    pulled = home.ok("pull", f"org/model@{SECOND}", "--json", "-v").json["pulled"][0]
    assert {path: (Path(pulled["path"]) / path).read_bytes() for path in FILES} == FILES
    assert pulled["index"] == bucket.place
    assert "all good" in home.ok("check").stderr


def test_main_is_what_the_bucket_can_tell_of_it(home: Home) -> None:
    wanted = {
        "org/model": SECOND,  # the other one is its parent
        "org/mirrored": SECOND,  # the newest that was mirrored as main
        "org/mirrored@dev": BRANCHED,
        "org/branched@3333333": BRANCHED,
    }
    told = home.ok("pull", "--dry-run", "--json", *wanted).json["pulled"]
    assert {one["reference"]: one["commit"] for one in told} == wanted
    error = home.fails("not_found", "pull", "org/branched", exit_code=NOTHING_MATCHED)
    assert sorted(error["commits"]) == [FIRST, BRANCHED]
    assert "Name a commit" in error["hint"]


def test_what_is_not_in_the_bucket_is_said(home: Home) -> None:
    for reference in ("org/nothing", f"org/model@{'f' * 40}", "org/model@v9"):
        home.fails("not_found", "pull", reference, exit_code=NOTHING_MATCHED)


def test_a_secret_key_never_leaves_and_a_wrong_one_is_refused(home: Home) -> None:
    result = home.run("pull", "org/model", "-v", AWS_SECRET_ACCESS_KEY="wrong")
    assert result.code == 1
    assert "access refused (403)" in result.stderr
    assert "wrong" not in result.stderr
    assert "X-Amz" not in result.stderr


def test_a_public_bucket_needs_no_keys_and_one_that_lists_nothing_needs_the_commit(
    home: Home, bucket: Bucket
) -> None:
    keyless = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    home.fails("auth", "pull", "org/model", **keyless)
    allow_everybody(bucket, "s3:GetObject")
    home.ok("pull", f"org/model@{SECOND}//config.json", **keyless)
    home.fails("auth", "pull", "org/model", **keyless)
    allow_everybody(bucket, "s3:GetObject", "s3:ListBucket")
    as_index = {"HOLDFAST_FIND_LINKS": "", "HOLDFAST_NO_INDEX": ""}
    home.ok("pull", "org/model//config.json", "-i", bucket.place, **keyless, **as_index)
    home.fails("usage", "search", "x", "-i", bucket.place, exit_code=2, **keyless, **as_index)
    path = home.ok(
        "pull", "org/model", AWS_ENDPOINT_URL=bucket.endpoint, HOLDFAST_FIND_LINKS=f"s3://{BUCKET}/models"
    ).path
    assert (path / "model.safetensors").read_bytes() == LARGE


def allow_everybody(bucket: Bucket, *actions: str) -> None:
    arn = f"arn:aws:s3:::{BUCKET}"
    allowed = {"Effect": "Allow", "Principal": "*", "Action": list(actions), "Resource": [arn, f"{arn}/*"]}
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    bucket.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


def test_a_manifest_or_a_blob_that_lies_is_refused(home: Home, bucket: Bucket) -> None:
    manifest = json.loads(bucket.client.get_object(Bucket=BUCKET, Key=key(SECOND))["Body"].read())
    for change in ({"repo_id": "org/other"}, {"files": [{**manifest["files"][0], "path": "../x"}]}):
        body = json.dumps({**manifest, "commit_hash": FIRST, **change}).encode()
        bucket.client.put_object(Bucket=BUCKET, Key=key(FIRST, "org/liar"), Body=body)
        error = home.run("--json", "pull", f"org/liar@{FIRST}").json["error"]
        assert error["code"] in ("bad_answer", "unsafe_path")
    sha256 = next(one["sha256"] for one in manifest["files"] if one["path"] == "config.json")
    other = {**manifest, "repo_id": "org/liar", "files": [{**manifest["files"][0], "git_oid": "e" * 40}]}
    bucket.client.put_object(Bucket=BUCKET, Key=key(SECOND, "org/liar"), Body=json.dumps(other).encode())
    assert manifest["files"][0]["sha256"] == sha256
    home.fails("hash_mismatch", "pull", f"org/liar@{SECOND}")
    assert not list(home.cache.rglob("snapshots/*/*"))


def key(commit: str, repo_id: str = "org/model") -> str:
    return f"models/commits/{repo_id}/{commit}.json"


def test_the_folder_of_a_server_is_read_in_the_same_way(tmp_path: Path) -> None:
    fill(store_from_url(f"file://{tmp_path}/store"))
    home = Home(tmp_path, "http://127.0.0.1:9", {"HOLDFAST_FIND_LINKS": str(tmp_path / "store")})
    path = home.ok("pull", "org/mirrored").path
    assert {name: (path / name).read_bytes() for name in FILES} == FILES


def test_a_presigned_address_is_the_one_that_the_vendors_library_makes(bucket: Bucket) -> None:
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret/+", "aws_session_token": "token=="}
    client = boto3.client(
        "s3", endpoint_url="https://s3.example:9000", region_name="eu-x-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}), **keys,
    )  # fmt: skip
    params = {"Bucket": "b", "Key": "commits/o r/a+é#1.json"}
    theirs = client.generate_presigned_url("get_object", Params=params, ExpiresIn=3600)
    query = parse_qs(urlsplit(theirs).query)
    now = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    credentials = Credentials("AKID", "secret/+", "token==", "eu-x-1")
    ours = presign(theirs.partition("?")[0], {}, credentials, now=now)
    assert parse_qs(urlsplit(ours).query) == query
    assert "secret" not in repr(credentials)


def test_the_address_of_a_bucket_is_read_or_refused() -> None:
    environ = {"AWS_REGION": "eu-north-1"}
    assert bucket_address("s3://b/p q", environ) == "https://s3.eu-north-1.amazonaws.com/b/p%20q"
    assert bucket_address("s3://b", {"AWS_ENDPOINT_URL": "http://h:1/"}) == "http://h:1/b"
    assert bucket_address("s3+https://h:1/b/p", {}) == "https://h:1/b/p"
    assert credentials_from({"AWS_ACCESS_KEY_ID": "x"}) is None
    for wrong in ("s3://", "s3+https://h", "s3+ftp://h/b", "s3+https://u@h/b"):
        with pytest.raises(UsageError):
            bucket_address(wrong, {})


def test_a_bucket_is_locked_and_brought_by_its_lock(home: Home, bucket: Bucket) -> None:
    (home.folder / "models.txt").write_text("org/model\n")
    home.ok("lock")
    assert f'index = "{bucket.place}"' in (home.folder / "models.lock").read_text()
    path = home.ok("sync", "--frozen", HOLDFAST_FIND_LINKS="").path
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
