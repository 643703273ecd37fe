"""What an `s3://` URL may say.

`s3://bucket/prefix?endpoint=https://host:port&region=us-east-1`, and, all optional:

| option              | meaning                                                          | default                    |
|---------------------|------------------------------------------------------------------|----------------------------|
| `endpoint`          | where the service is                                             | AWS                        |
| `region`            | its region                                                       | `AWS_REGION`, us-east-1    |
| `public`            | where clients reach it, for presigned URLs                       | the endpoint               |
| `addressing`        | `path` (host/bucket/key) or `virtual` (bucket.host/key)          | path                       |
| `part_mib`          | one part size for all (Cloudflare R2 wants that)                 | 8, from 8 GB on 48         |
| `uploads`           | parts on their way at once, per file                             | 2                          |
| `connect_seconds`, `read_seconds` | time limits of one request                         | 10, 60                     |
| `attempts`          | how often a request is tried, with growing pauses                | 6                          |
| `access_key_id`, `secret_access_key` | credentials; URLs get seen, so rather … | `AWS_ACCESS_KEY_ID`, … |
"""

import os
from dataclasses import dataclass, fields

from mirror.blobs.errors import StoreError
from mirror.blobs.keys import check_key

MIB = 1 << 20
SMALL_PART_BYTES = 8 * MIB
LARGE_PART_BYTES = 48 * MIB
N_SMALL_PARTS = 1000
MAX_PARTS = 10_000
"""The protocol's limit on the parts of one object: 8 x 1000 + 48 x 9000 MiB are 429 GiB."""
MIN_PART_MIB, MAX_PART_MIB = 5, 512


@dataclass(frozen=True, slots=True)
class S3Settings:
    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    public: str | None = None
    addressing: str = "path"
    part_mib: int = 0
    uploads: int = 2
    connect_seconds: int = 10
    read_seconds: int = 60
    attempts: int = 6
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def __repr__(self) -> str:
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}{where}"

    def part_bytes(self, number: int) -> int:
        """The size of part `number` (from 1) of every staged file, the last one excepted."""
        if number > MAX_PARTS:
            raise StoreError(
                f"a file is larger than the {MAX_PARTS} parts that an object may have: add part_mib=256 to the "
                "store's URL, which is good for 2.4 TiB (with more memory per file).",
                code="too-many-parts",
            )
        if self.part_mib:
            return self.part_mib * MIB
        return SMALL_PART_BYTES if number <= N_SMALL_PARTS else LARGE_PART_BYTES


def read_settings(bucket: str, path: str, options: dict[str, str]) -> S3Settings:
    """Settings out of the pieces of a URL; a misspelt option is an error, not a silence."""
    known = {field.name: field.type for field in fields(S3Settings)} | {}
    known.pop("bucket"), known.pop("prefix")
    for option in options.keys() - known.keys():
        raise _bad_option(bucket, option, f"is not known; there are: {', '.join(sorted(known))}")
    if not bucket:
        raise _bad_option(bucket, "bucket", "is missing: s3://bucket/prefix")
    prefix = path.strip("/")
    values = {name: _value(bucket, name, text, known[name]) for name, text in options.items()}
    return _checked(
        S3Settings(bucket=bucket, prefix=check_key(prefix) + "/" if prefix else "", **values)  # type: ignore[arg-type]
    )


def _value(bucket: str, name: str, text: str, kind: object) -> str | int:
    if kind is not int:
        return text
    if not text.isdecimal() or int(text) == 0:
        raise _bad_option(bucket, name, f"is a positive number, not {text!r}")
    return int(text)


def _checked(settings: S3Settings) -> S3Settings:
    if settings.part_mib and not MIN_PART_MIB <= settings.part_mib <= MAX_PART_MIB:
        raise _bad_option(settings.bucket, "part_mib", f"is {MIN_PART_MIB} to {MAX_PART_MIB}")
    if settings.addressing not in {"path", "virtual"}:
        raise _bad_option(settings.bucket, "addressing", "is path or virtual")
    for name, url in {"endpoint": settings.endpoint, "public": settings.public}.items():
        if url and not url.startswith(("http://", "https://")):
            raise _bad_option(settings.bucket, name, f"starts with http:// or https://, not {url!r}")
    return settings


def _bad_option(bucket: str, option: str, why: str) -> StoreError:
    return StoreError(f"s3://{bucket}: {option} {why}. Correct HOLDFAST_BLOBS.", code="bad-store-url")


def region_or_default(settings: S3Settings) -> str:
    """The region to sign for."""
    return (
        settings.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    )
