"""One service for all tests of git, on gunicorn, and the real `git` of a person who has no configuration."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.services.deployment import Deployment

PRELUDE = """
import json
from pathlib import Path
from django.contrib.auth.models import User
from registry.models import *
from tests.checkpoints import record_commit, record_tag
found = None
"""
CAST = """
acme = Organisation.objects.create(name="acme")
alice = User.objects.create_user("alice", "alice@example.org", "alice-password")
Member.objects.create(organisation=acme, user=alice, role=Member.Role.OWNER)
charlie = User.objects.create_user("charlie", "charlie@example.org", "charlie-password")
found = {who.username: AccessToken.issue(who, name="test")[1] for who in (alice, charlie)}
"""


@dataclass(frozen=True)
class Service:
    """A running Holdfast. `run` executes Python in it and gives back what that assigns to `found`."""

    deployment: Deployment
    url: str
    tokens: dict[str, str]

    def run(self, code: str) -> Any:
        done = self.deployment.manage("shell", "-c", f"{PRELUDE}\n{code}\nprint('FOUND', json.dumps(found))")
        return json.loads(done.stdout.rpartition("FOUND ")[2])

    def with_token(self, name: str) -> str:
        """The URL with a user and a token in it, as people put it into git's configuration."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{name}:{self.tokens.get(name, 'hf_wrong')}@{parts.netloc}"


@dataclass(frozen=True)
class Git:
    """Runs git in a folder, as somebody with a home of their own."""

    home: Path

    def __call__(self, *arguments: str, at: Path | None = None, check: bool = True, **more: str) -> str:
        done = self.run(*arguments, at=at, **more)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, *arguments: str, at: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", "NO_PROXY": "127.0.0.1",
            "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", **more,
        }  # fmt: skip
        return subprocess.run(
            ["git", *arguments], cwd=at or self.home, env=environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    def files(self, clone: Path) -> dict[str, bytes]:
        """{path: bytes} of what was checked out."""
        found = (path for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {path.relative_to(clone).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Deployment(tmp_path_factory.mktemp("git") / "deployment") as deployment:
        tokens = Service(deployment, "", {}).run(CAST)
        yield Service(deployment, deployment.start_web(), tokens)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path)
