"""Which blob store a test gets: a directory of its own, or a prefix of the S3 server that the run was given."""

import os
import uuid
from pathlib import Path


def fresh_store_url(folder: Path) -> str:
    """An empty store. HOLDFAST_TEST_STORE_URL (`s3://bucket?endpoint=…`) puts every test's store on that server."""
    base = os.environ.get("HOLDFAST_TEST_STORE_URL")
    if not base:
        return f"file://{folder}/store"
    bucket, _, options = base.partition("?")
    return f"{bucket}/{uuid.uuid4().hex}?{options}"
