"""One service for all tests of git, on gunicorn, and the real `git` of a person who has no configuration."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.services.deployment import Deployment

PRELUDE = """
import json
from django.contrib.auth.models import User
from mirror.sync import submit_mirror
from mirror.upstream import parse_upstream_ref
from mirror.blobs.store import blob_key
from mirror.store import blob_store
from registry.models import *
from registry.work import run_job
from tests.checkpoints import record_commit, record_tag, store_blob
from tests.mirror.mirrored import overwrite
found = None

def mirror(url, repo_id):
    job = submit_mirror(parse_upstream_ref("hf+" + url), repo_id=repo_id, send_nudge=False)
    run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_message
    return job.result["commit"]
"""


@dataclass(frozen=True)
class Service:
    """A running Holdfast. `run` executes Python in it and gives back what that assigns to `found`."""

    deployment: Deployment
    url: str

    def run(self, code: str) -> Any:
        lines = [PRELUDE, f"url = {self.url!r}", code, "print('FOUND', json.dumps(found))"]
        done = self.deployment.manage("shell", "-c", "\n".join(lines))
        return json.loads(done.stdout.rpartition("FOUND ")[2])

    def with_token(self, name: str, token: str) -> str:
        """The URL with a user and a token in it, as people put it into git's configuration."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{name}:{token}@{parts.netloc}"


@dataclass(frozen=True)
class Git:
    """Runs git in a folder, as somebody with a home of their own. `with_lfs`: files in LFS come when checked out."""

    home: Path
    with_lfs: bool = False

    def __call__(self, *arguments: str, at: Path | None = None, stdin: Path | None = None) -> str:
        """What it printed; it must succeed."""
        done = self.run(*arguments, at=at, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(
        self, *arguments: str, at: Path | None = None, stdin: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", "NO_PROXY": "127.0.0.1",
            "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "" if self.with_lfs else "1",
        }  # fmt: skip
        with (stdin or Path(os.devnull)).open("rb") as source:
            return subprocess.run(
                ["git", *arguments], cwd=at or self.home, env=environment, stdin=source, capture_output=True, text=True,
                timeout=120, check=False,
            )  # fmt: skip

    def clone(self, url: str, *how: str) -> Path:
        """Where the clone of that URL is, which is a new folder."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        self("clone", *how, url, str(folder))
        return folder

    def is_sound(self, clone: Path) -> bool:
        """Whether git finds every object there, with the id that its bytes have."""
        return self.run("fsck", "--strict", "--full", at=clone).returncode == 0

    def n_loose(self, clone: Path) -> int:
        """How many objects came in packs too small to be kept as such."""
        return int(self("count-objects", at=clone).split()[0])

    def files(self, clone: Path) -> dict[str, bytes]:
        """{path: bytes} of what was checked out."""
        found = (path for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {path.relative_to(clone).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Deployment(tmp_path_factory.mktemp("git") / "deployment") as deployment:
        yield Service(deployment, deployment.start_web())


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path)
