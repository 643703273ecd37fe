"""Programs that know nothing of model hubs: curl, aria2c, wget, sha256sum and skopeo, against a real server.

Those that this machine lacks are skipped by name; what they send is replayed in tests/mirror/{hub,oci}.
"""

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.deployment import Deployment

pytestmark = pytest.mark.one_backend

BYTES = random.Random(7).randbytes(6_000_000)
FILL = """
from pathlib import Path
from tests.checkpoints import record_commit
from registry.models import AccessToken, Member, Organisation
from django.contrib.auth.models import User
acme = Organisation.objects.create(name="acme")
weights = {weights!r}
record_commit("acme/model-GGUF", {{"model-Q4_K_M.gguf": Path(weights), "README.md": b"#"}})
record_commit("acme/secret", {{"secret-Q8_0.gguf": b"secret"}}, private=True, organisation=acme)
alice = User.objects.create_user("alice")
Member.objects.create(organisation=acme, user=alice, role="owner")
print("\\nTOKEN", AccessToken.issue(alice, name="laptop")[1])
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a server that holds a file of 6 MB, and a token."""
    folder = tmp_path_factory.mktemp("plain")
    weights = folder / "weights"
    weights.write_bytes(BYTES)
    with Deployment(folder / "site") as made:
        said = made.manage("shell", "-c", FILL.format(weights=str(weights))).stdout
        yield made.start_web(), said.rpartition("TOKEN ")[2].strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the downloads go; half of the file is there already."""
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(BYTES[:2_500_000])
    return tmp_path


def run(folder: Path, *command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed on this machine")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


URL = "{here}/acme/model-GGUF/resolve/main/model-Q4_K_M.gguf"


@pytest.mark.parametrize(
    "command",
    [
        ("curl", "-sSf", "-C", "-", "-LO", URL),
        ("wget", "-q", "-c", URL),
        ("aria2c", "-q", "-c", "-x16", "-s16", "-k1M", "--allow-overwrite=true", URL),
    ],
    ids=lambda command: command[0],
)
def test_half_a_file_is_completed(served: tuple[str, str], folder: Path, command: tuple[str, ...]) -> None:
    if command[0] == "aria2c":  # it resumes what it began itself
        (folder / "model-Q4_K_M.gguf").unlink()
    run(folder, *(part.format(here=served[0]) for part in command))
    assert (folder / "model-Q4_K_M.gguf").read_bytes() == BYTES


def test_sha256sum_checks_what_was_fetched(served: tuple[str, str], folder: Path) -> None:
    run(folder, "curl", "-sSfLO", URL.format(here=served[0]))
    run(folder, "curl", "-sSfL", "-o", "SHA256SUMS", f"{served[0]}/acme/model-GGUF/sha256sums/main")
    said = run(folder, "sha256sum", "--check", "--ignore-missing", "SHA256SUMS")
    assert said == "model-Q4_K_M.gguf: OK\n"


def skopeo(folder: Path, here: str, *arguments: str) -> str:
    address = here.removeprefix("http://")
    command = (part.format(here=f"docker://{address}") for part in arguments)
    return run(folder, "skopeo", "--insecure-policy", *command)


def test_skopeo_inspects_and_copies_a_model(served: tuple[str, str], folder: Path) -> None:
    where = "{here}/acme/model-gguf:Q4_K_M"
    said = json.loads(skopeo(folder, served[0], "inspect", "--raw", "--tls-verify=false", where))
    skopeo(folder, served[0], "copy", "--src-tls-verify=false", where, "dir:model")
    layer = said["layers"][0]["digest"].removeprefix("sha256:")
    assert (folder / "model" / layer).read_bytes() == BYTES
    assert hashlib.sha256(BYTES).hexdigest() == layer
    assert json.loads((folder / "model" / "manifest.json").read_bytes()) == said


def test_skopeo_reads_a_private_model_with_a_token(served: tuple[str, str], folder: Path) -> None:
    here, token = served
    where = ("--src-tls-verify=false", "{here}/acme/secret:Q8_0", "dir:secret")
    skopeo(folder, here, "copy", "--src-creds", f"alice:{token}", *where)
    layer = hashlib.sha256(b"secret").hexdigest()
    assert (folder / "secret" / layer).read_bytes() == b"secret"
