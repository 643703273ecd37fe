"""Uploads by the unmodified client, and by many at once, to a server that may be killed at any moment.

huggingface_hub with hf_xet installed and its default configuration; `HF_HUB_DISABLE_XET=1` where the docs ask for it.
"""

import json
import os
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.deployment import Deployment
from tests.services.processes import accepts_connections, free_port, wait_for

# Runs inside the deployment: alice may write to acme/tiny, charlie has an account.
FILL = """
from django.contrib.auth.models import User
from mirror.creating import create_repo
from mirror.store import blob_store
from registry.models import AccessToken, Member, Organisation
acme = Organisation.objects.create(name="acme")
alice, charlie = User.objects.create_user("alice"), User.objects.create_user("charlie")
Member.objects.create(organisation=acme, user=alice, role="owner")
create_repo(blob_store(), alice, acme, "tiny", repo_type="model", private=False)
print("\\nTOKENS", *(AccessToken.issue(user, name="t", write=True)[1] for user in (alice, charlie)))
"""
MIB = 1 << 20

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("uploads")
    with Deployment(folder, HOLDFAST_UPLOAD_PART_BYTES=str(32 * MIB)) as made:
        made.env["TOKENS"] = made.manage("shell", "-c", FILL).stdout.rpartition("TOKENS ")[2].strip()
        made.env["URL"] = made.start_web()
        yield made


@pytest.fixture
def ask(service: Deployment, tmp_path: Path) -> Ask:
    """Runs lines of Python with the client as alice and gives back what they assign to `found`."""

    def asked(code: str, **more: str) -> Any:
        lines = ["import json, os", "from huggingface_hub import *", "api = HfApi()"]
        lines += ["other = HfApi(token=os.environ['OTHER'])", textwrap.dedent(code)]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([*lines, "print('FOUND', json.dumps(found))"])],
            env=client_environment(service, tmp_path) | more, capture_output=True, text=True, timeout=240,
            check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("FOUND ")[2])

    return asked


def client_environment(service: Deployment, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HOLDFAST_"))}
    token, other = service.env["TOKENS"].split()
    return kept | {
        "HF_ENDPOINT": service.env["URL"], "HF_TOKEN": token, "OTHER": other, "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip


def test_a_folder_is_uploaded_by_a_client_as_it_is_installed(ask: Ask) -> None:
    found = ask("""
        import hf_xet, pathlib
        folder = pathlib.Path("model"); (folder / "sub").mkdir(parents=True)
        (folder / "README.md").write_text("---\\nlicense: mit\\n---\\n# Tiny\\n")
        (folder / "model.safetensors").write_bytes(os.urandom(12_000_000))
        (folder / "sub" / "empty.txt").touch()
        api.upload_folder(repo_id="acme/tiny", folder_path=folder)
        again = api.upload_folder(repo_id="acme/tiny", folder_path=folder)
        there = snapshot_download("acme/tiny")
        same = all((pathlib.Path(there) / p).read_bytes() == (folder / p).read_bytes()
                   for p in ("README.md", "model.safetensors", "sub/empty.txt"))
        [weights] = api.get_paths_info("acme/tiny", "model.safetensors")
        found = [same, again.oid == api.model_info("acme/tiny").sha, weights.lfs is not None]
    """)
    assert found == [True, True, True]


def test_deletes_copies_and_pull_requests(ask: Ask) -> None:
    found = ask("""
        add = [CommitOperationAdd("w.bin", b"w" * 1000), CommitOperationAdd("x/a", b"a"), CommitOperationAdd("y", b"y")]
        api.create_commit("acme/tiny", add, commit_message="Add")
        ops = [CommitOperationDelete("x/"), CommitOperationDelete("y"), CommitOperationCopy("w.bin", "copy.bin")]
        api.create_commit("acme/tiny", ops, commit_message="Tidy")
        files = api.list_repo_files("acme/tiny")
        add = [CommitOperationAdd("pr.txt", b"p")]
        pr = other.create_commit("acme/tiny", add, commit_message="Offer", create_pr=True)
        before = api.file_exists("acme/tiny", "pr.txt")
        api.merge_pull_request("acme/tiny", pr.pr_num)
        details = api.get_discussion_details("acme/tiny", pr.pr_num)
        found = [sorted({"w.bin", "copy.bin", "x/a", "y"} & set(files)), before, details.status,
                 details.author, api.file_exists("acme/tiny", "pr.txt")]
    """)
    assert found == [["copy.bin", "w.bin"], False, "merged", "charlie", True]


@pytest.mark.parametrize("size", [20 * MIB, 70 * MIB], ids=["whole", "in parts"])
def test_a_large_file_goes_by_lfs_where_xet_is_disabled(ask: Ask, size: int) -> None:
    """The smaller one is a stream, which the client never sends inline."""
    found = ask(
        """
        import hashlib, io
        data = os.urandom(1 << 20) * (int(os.environ["SIZE"]) >> 20)
        sent = data if len(data) > 64_000_000 else io.BytesIO(data)
        api.upload_file(path_or_fileobj=sent, path_in_repo="large.bin", repo_id="acme/tiny")
        path = hf_hub_download("acme/tiny", "large.bin")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() == hashlib.sha256(data).hexdigest()
        """,
        HF_HUB_DISABLE_XET="1", SIZE=str(size),
    )  # fmt: skip
    assert found is True


def test_the_command_line_uploads(service: Deployment, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    hf = Path(sys.executable).parent / "hf"
    done = subprocess.run(
        [hf, "upload", "acme/tiny", "notes.txt", "docs/notes.txt"], env=client_environment(service, tmp_path),
        capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read(service, "docs/notes.txt") == b"notes"


def test_a_killed_server_loses_nothing_that_it_acknowledged(service: Deployment) -> None:
    """Three commit without a pause to a second server, which is killed; then everything is looked at."""
    port, acknowledged, stop = free_port(), dict[str, bytes](), threading.Event()
    doomed = service.start("web", "--port", str(port), name="doomed")
    doomed.wait_until(lambda: accepts_connections(port))
    url = f"http://127.0.0.1:{port}/api/models/acme/tiny/commit/main"
    writers = [
        threading.Thread(target=commit_until, args=(stop, service, url, acknowledged, f"writer-{number}"))
        for number in range(3)
    ]
    for writer in writers:
        writer.start()
    wait_for(lambda: len(acknowledged) >= 10, what="some commits")
    doomed.kill()
    stop.set()
    for writer in writers:
        writer.join()
    files = json.loads(fetch(service, "/api/models/acme/tiny/tree/main?recursive=true&limit=1000"))
    assert acknowledged.keys() <= {entry["path"] for entry in files}
    assert all(read(service, path) == data for path, data in acknowledged.items())
    assert service.manage_json("audit")["is_clean"]


def commit_until(
    stop: threading.Event, service: Deployment, url: str, acknowledged: dict[str, bytes], name: str
) -> None:
    """Commits a small file again and again, and notes those that the server said yes to."""
    number = 0
    while not stop.is_set():
        path, data = f"{name}-{number}.txt", f"{name} {number}".encode()
        number += 1
        value = {"path": path, "content": b64encode(data).decode(), "encoding": "base64"}
        lines = [{"key": "header", "value": {"summary": path}}, {"key": "file", "value": value}]
        body = "\n".join(map(json.dumps, lines)).encode()
        try:
            fetch(service, url, body)
        except (OSError, urllib.error.HTTPError):
            continue
        acknowledged[path] = data


def fetch(service: Deployment, path: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": "Bearer " + service.env["TOKENS"].split()[0]}
    url = path if path.startswith("http://") else service.env["URL"] + path
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def read(service: Deployment, path: str) -> bytes:
    return fetch(service, f"/acme/tiny/resolve/main/{path}")
