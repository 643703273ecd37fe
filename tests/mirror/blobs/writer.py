"""A child process that stores one file: `python -m tests.mirror.blobs.writer STORE_URL FILE`.

It continues where an earlier one was killed, and says on stdout how far it is, so that a test can kill it there.
"""

import hashlib
import sys
from pathlib import Path

from mirror.blobs import store_from_url
from mirror.blobs.store import blob_key

PIECE_BYTES = 256 << 10
CHECKPOINT_BYTES = 2 << 20


def main(url: str, file: str) -> None:
    store = store_from_url(url)
    data = Path(file).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with store.stage("killed") as staged:
        print("resumed", staged.size_bytes, flush=True)
        for start in range(staged.size_bytes, len(data), PIECE_BYTES):
            staged.write(memoryview(data)[start : start + PIECE_BYTES])
            print("written", staged.size_bytes, flush=True)
            if staged.size_bytes % CHECKPOINT_BYTES == 0:
                print("durable", staged.checkpoint(), flush=True)
        print(
            "new" if store.promote(staged, blob_key(sha256), sha256=sha256, size_bytes=len(data)) else "held"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
