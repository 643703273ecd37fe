"""One artifact on its way into the store: staged bytes that survive a killed worker, then a blob under its own sha256.

What a crash of the machine (not just of the worker) may have left beyond the last checkpoint is not trusted: those
ranges are made again and compared with what is stored before anything is recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from conversion.formats.weights import Weights
from conversion.naming.slabs import FilePlan, file_pieces
from conversion.recipes import Choice
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from mirror.blobs.store import Staged
from registry.models import Blob
from registry.work import JobFailed

CHECKPOINT_BYTES = 16 * 2**20
"""How much work a killed machine may lose."""


@dataclass
class Output:
    """One planned file. `durable`: bytes the store has promised to keep; `suspect`: ranges found beyond that."""

    choice: Choice
    plan: FilePlan
    store: BlobStore
    staged: Staged
    durable: int = 0
    suspect: list[list[int]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return self.plan.layout.size_bytes

    @property
    def start(self) -> int:
        """The byte to go on from."""
        return self.staged.size_bytes

    def resume(self, saved: dict[str, Any], name: str) -> None:
        """Takes over what an earlier slice left. Raises JobFailed `staged-too-long` for what cannot be ours."""
        self.durable, self.suspect = saved.get("durable", 0), list(saved.get("suspect", []))
        if self.start > self.size_bytes:
            raise JobFailed(
                "staged-too-long",
                f"incoming/{name} has {self.start} bytes, but the artifact only {self.size_bytes}. "
                "Discard it and retry.",
            )
        if self.start > self.durable:
            self.suspect.append([self.durable, self.start])
        elif self.start < self.durable:  # the staged bytes were swept; what is made now is fresh
            self.suspect = [
                [first, min(last, self.start)] for first, last in self.suspect if first < self.start
            ]
        self.durable = self.start

    def write(self, data: bytes) -> bool:
        """True when so much is written that a checkpoint is due."""
        self.staged.write(data)
        return self.start - self.durable >= CHECKPOINT_BYTES

    def make_durable(self) -> None:
        self.durable = self.staged.checkpoint()

    def progress(self) -> dict[str, Any]:
        """What a job's checkpoint keeps of it."""
        return {"durable": self.durable, "suspect": self.suspect}

    def store_blob(self, weights: Weights, on_hashed: Callable[[int], None], expected: str = "") -> str:
        """The whole file is in the store under the sha256 that is returned; `expected`, if given, is that sha256.

        Raises JobFailed: `not-reproducible` for other bytes than expected, and `staged-bytes-damaged`, after which
        nothing of it is left and a retry begins anew.
        """
        digests = self.staged.finish(on_hashed)
        if expected and digests.sha256 != expected:
            self.staged.discard()
            raise JobFailed(
                "not-reproducible",
                f"the recipe gave bytes with sha256 {digests.sha256[:16]}…, expected {expected[:16]}…. They were "
                "thrown away. Run the release that made the artifact.",
            )
        key = blob_key(digests.sha256)
        self.store.promote(self.staged, key, sha256=digests.sha256, size_bytes=self.size_bytes)
        if not all(self._is_as_made(weights, key, first, last) for first, last in self.suspect):
            self._throw_away(key, digests.sha256)
        return digests.sha256

    def _is_as_made(self, weights: Weights, key: str, first: int, last: int) -> bool:
        for piece in file_pieces(self.plan, weights, first, last):
            if self.store.read(key, first, len(piece.data)) != piece.data:
                return False
            first += len(piece.data)
        return True

    def _throw_away(self, key: str, sha256: str) -> None:
        """A crash of the machine left bytes that nobody wrote."""
        if not Blob.objects.filter(sha256=sha256).exists():
            self.store.delete(key)
        raise JobFailed(
            "staged-bytes-damaged",
            f"{self.choice.name}: bytes staged before a crash were not what had been written. They were removed, and "
            "the conversion starts again.",
            retryable=True,
        )
