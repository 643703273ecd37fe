"""Presigned URLs of S3 (AWS Signature Version 4, in the query): GET of one object or of a listing, for an hour.

The algorithm is that of "Authenticating Requests: Using Query Parameters" in the S3 API reference; the signature covers
method, path, query and host, and no byte of the secret leaves this process.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit

EXPIRES_SECONDS = 3600


@dataclass(frozen=True)
class Credentials:
    """Who asks, and in which region."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"


def credentials_from(environ: Mapping[str, str]) -> Credentials | None:
    """From AWS's own variables; None if they are not set, and then requests are anonymous."""
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        return None
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or None, region)


def presign(
    url: str, query: Mapping[str, str], credentials: Credentials, *, now: datetime | None = None
) -> str:
    """The URL, whose path is already quoted, with the query and a signature."""
    time = (now or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{credentials.region}/s3/aws4_request"
    signed = {
        **query,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(EXPIRES_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token:
        signed["X-Amz-Security-Token"] = credentials.session_token
    parts, text = urlsplit(url), encode_query(signed)
    request = f"GET\n{parts.path}\n{text}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signature = hmac.new(
        _signing_key(credentials, time[:8]),
        f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}".encode(),
        hashlib.sha256,
    ).hexdigest()
    return f"{url}?{text}&X-Amz-Signature={signature}"


def encode_query(query: Mapping[str, str]) -> str:
    """Sorted and quoted as the signature wants it."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))


def _signing_key(credentials: Credentials, day: str) -> bytes:
    key = f"AWS4{credentials.secret_key}".encode()
    for word in (day, credentials.region, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key
