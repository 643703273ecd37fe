"""What the README says to type for the client works when pasted."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.running import COMMAND, ROOT, Home
from tests.services.deployment import Deployment

SECTION = re.compile(r"^## Take them home\n.*?^```\n(.*?)^```", re.DOTALL | re.MULTILINE)
RECORD = """
from pathlib import Path
from tests.checkpoints import record_commit
sample = Path("deploy/samples/tinyfamily/base-f32")
files = {file.name: file.read_bytes() for file in sample.iterdir() if file.is_file()}
record_commit("tinyfamily/base", files | {"base-Q8_0.gguf": b"GGUF" * 1000})
"""


def lines() -> list[str]:
    found = SECTION.search((ROOT / "README.md").read_text())
    assert found is not None
    return found[1].splitlines()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has, under the name of the demo, a checkpoint, with a variant beside it to save converting it."""
    with Deployment(tmp_path_factory.mktemp("server")) as deployment:
        deployment.manage("shell", "-c", RECORD)
        yield deployment.start_web()


def test_the_lines_for_the_client_work_when_pasted(url: str, tmp_path: Path) -> None:
    """All but the first, which tests/client/test_packaging.py does in an empty environment."""
    install, export, *commands = lines()
    assert install == "pip install ./client"
    assert export == "export HOLDFAST_INDEX_URL=http://127.0.0.1:8000"
    assert len(commands) > 4
    home = Home(tmp_path, url)
    program = tmp_path / "bin" / "holdfast"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {COMMAND[0]} -m holdfast "$@"\n')
    program.chmod(0o755)
    env = home.environment()
    done = subprocess.run(
        ["/bin/sh", "-ex", "-c", "\n".join([f"export HOLDFAST_INDEX_URL={url}", *commands])], cwd=tmp_path,
        env=env | {"PATH": f"{program.parent}:{env['PATH']}"}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models.lock").is_file()
    assert "all good" in done.stderr
    assert "0 problems" in done.stderr
    (path,) = {line for line in done.stdout.splitlines() if line.endswith("base-Q8_0.gguf")}
    assert Path(path).read_bytes()[:4] == b"GGUF"
