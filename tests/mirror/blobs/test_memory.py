"""Memory does not grow with the file: a child process stores and reads 160 MiB and says what it needed at most."""

import subprocess
import sys

from tests.services.deployment import ROOT

STORE_AND_READ = """
import hashlib, os, resource, sys
from mirror.blobs import store_from_url
from mirror.blobs.store import blob_key
store, piece, digest = store_from_url(sys.argv[1]), os.urandom(1 << 20), hashlib.sha256()
list(store.list("blobs/"))  # the S3 library is loaded
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with store.stage("in") as staged:
    for _ in range(160):
        staged.write(piece)
        digest.update(piece)
    sha256 = digest.hexdigest()
    store.promote(staged, blob_key(sha256), sha256=sha256, size_bytes=160 << 20)
again = hashlib.sha256()
with store.open(blob_key(sha256)) as reader:
    while data := reader.read(1 << 20):
        again.update(data)
assert again.hexdigest() == sha256
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_storing_and_reading_a_large_file_needs_a_few_parts_of_memory(store_url: str) -> None:
    command = [sys.executable, "-c", STORE_AND_READ, store_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < (16 if store_url.startswith("file:") else 64), f"{done.stdout} MiB"
