"""Which bytes this process has hashed and found right. Nothing else leaves the machine.

A file is known by its device, inode, size and time of change, so bytes that change are hashed again. Hashing goes on
when whoever asked gives up waiting: the next request finds it done.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Callable, Literal

from holdfast.fetching.hashing import Digests, Expected, hash_file
from holdfast.serving.shelf import Held
from holdfast.text import printable

HASHED_AT_ONCE = 2

Verdict = Literal["good", "damaged", "pending"]


@dataclass
class _Check:
    done: threading.Event = field(default_factory=threading.Event)
    digests: Digests | None = None
    is_good: bool = False


class Verified:
    """What was hashed so far. Safe to share between threads."""

    def __init__(self, on_damage: Callable[[str], None]) -> None:
        self._on_damage = on_damage
        self._checks: dict[tuple[int, int, int, int, str], _Check] = {}
        self._lock = threading.Lock()
        self._hashing = threading.Semaphore(HASHED_AT_ONCE)

    def verdict(
        self, held: Held, status: os.stat_result, *, wait_seconds: float
    ) -> tuple[Verdict, Digests | None]:
        """Whether the bytes of that very file are right; hashes them if nobody has, and waits so long at most."""
        check = self._check(held, status)
        if not check.done.wait(wait_seconds):
            return "pending", None
        return ("good" if check.is_good else "damaged"), check.digests

    def _check(self, held: Held, status: os.stat_result) -> _Check:
        name = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, held.file.etag)
        with self._lock:
            check = self._checks.get(name)
            if check is None:
                check = self._checks[name] = _Check()
                threading.Thread(target=self._run, args=(check, held), daemon=True).start()
        return check

    def _run(self, check: _Check, held: Held) -> None:
        try:
            with self._hashing:
                check.digests = hash_file(held.local, with_git=held.file.sha256 is None)
            must_be = Expected(check.digests.size_bytes, held.file.sha256, held.file.git_oid)
            check.is_good = must_be.difference(check.digests) is None
        except OSError:
            check.is_good = False
        finally:
            check.done.set()
        if not check.is_good:
            self._on_damage(f"damaged, not served: {printable(held.local)}; holdfast check --repair mends it")
