"""An S3 bucket as a store: plain GET, ranges and listings, anonymous or presigned; no library of the vendor's.

    s3+https://host[:port]/bucket/prefix      any S3 service, by its address (s3+http:// for one in the house)
    s3://bucket/prefix                        at AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else at AWS in AWS_REGION

Requests are signed if AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from holdfast.errors import BadAnswer, UsageError
from holdfast.network.patience import with_patience
from holdfast.network.transport import MAX_JSON_BYTES, Answer, Transport
from holdfast.network.urls import show_url
from holdfast.sources.signing import Credentials, encode_query, presign
from holdfast.sources.stores import Listed, range_header, read_small, refusal
from holdfast.text import printable

MAX_PAGES = 1000
_ENTRY = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_WRITTEN = re.compile(r"<LastModified>([^<]*)</LastModified>")
_NEXT = re.compile(r"<NextContinuationToken>([^<]*)</NextContinuationToken>")


def bucket_address(url: str, environ: Mapping[str, str]) -> str:
    """The https address of the bucket and prefix, path style, or UsageError."""
    parts = urlsplit(url)
    path = quote(parts.path.strip("/"))
    if parts.scheme == "s3" and parts.netloc:
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        base = (endpoint or f"https://s3.{region}.amazonaws.com").rstrip("/")
        if base.startswith(("http://", "https://")):
            return f"{base}/{quote(parts.netloc)}/{path}".rstrip("/")
    elif parts.scheme in ("s3+https", "s3+http") and parts.hostname and path and "@" not in parts.netloc:
        return f"{parts.scheme[3:]}://{parts.netloc}/{path}"
    raise UsageError(
        f"cannot read the address of a bucket: {printable(url)!r}",
        hint="write s3+https://host/bucket/prefix, or s3://bucket/prefix with AWS_ENDPOINT_URL",
    )


class S3Store:
    """A bucket, or what lies below a prefix of it."""

    def __init__(
        self, url: str, address: str, transport: Transport, *, credentials: Credentials | None, retries: int
    ) -> None:
        self.url = url
        self._address = address
        self._transport = transport
        self._credentials = credentials
        self._retries = retries
        host_end = address.index("/", address.index("//") + 2)
        bucket, _slash, prefix = address[host_end + 1 :].partition("/")
        self._bucket_address = f"{address[:host_end]}/{bucket}"
        self._prefix = f"{prefix}/" if prefix else ""

    @contextmanager
    def open(self, key: str, start: int, end: int | None) -> Iterator[Answer]:
        url = self._signed(f"{self._address}/{quote(key)}", {})
        with self._transport.open(url, range_header(start, end)) as answer:
            if answer.status not in (200, 206):
                raise refusal(answer, key)
            yield answer

    def read(self, key: str) -> bytes:
        return read_small(self, key, self._retries)

    def listing(self, prefix: str, limit: int) -> list[Listed]:
        found: list[Listed] = []
        query = {"list-type": "2", "prefix": f"{self._prefix}{prefix}", "delimiter": "/"}
        for _page in range(MAX_PAGES):
            text = with_patience(self._retries, lambda: self._page(query))
            found += self._entries(text)
            more = _NEXT.search(text)
            if more is None or len(found) >= limit:
                break
            query["continuation-token"] = html.unescape(more.group(1))
        return found[:limit]

    def _page(self, query: dict[str, str]) -> str:
        with self._transport.open(self._signed(self._bucket_address, query)) as answer:
            if answer.status != 200:
                raise refusal(answer, query["prefix"])
            text = answer.read_all(MAX_JSON_BYTES).decode("utf-8", "replace")
        if "<ListBucketResult" not in text:
            raise BadAnswer(f"{show_url(self._bucket_address)} did not answer as S3 does", url=answer.url)
        return text

    def _entries(self, text: str) -> list[Listed]:
        """What does not look like an entry of ours is passed over: nothing here is parsed as XML."""
        found = []
        for entry in _ENTRY.findall(text):
            key, written = _KEY.search(entry), _WRITTEN.search(entry)
            name = html.unescape(key.group(1)) if key else ""
            if name.startswith(self._prefix):
                found.append(Listed(name[len(self._prefix) :], written.group(1) if written else ""))
        return found

    def _signed(self, url: str, query: Mapping[str, str]) -> str:
        if self._credentials is not None:
            return presign(url, query, self._credentials)
        return f"{url}?{encode_query(query)}" if query else url
