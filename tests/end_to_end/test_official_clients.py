"""The official clients, unmodified, against our API: huggingface_hub, transformers, and the requests of llama.cpp.

A real service (gunicorn, its own database and store) holds `acme/tiny`, mirrored from the samples, and a few repos
that are odd on purpose. Each client runs in a process of its own with HF_ENDPOINT set and an empty cache.
"""

import json
import os
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.services.deployment import ROOT, Deployment

pytestmark = pytest.mark.one_backend  # uploads and management run on both

SAMPLE = ROOT / "deploy" / "samples" / "tinyfamily" / "base-f32"

# Runs inside the deployment: what a mirror of a folder cannot bring about.
FILL = """
from tests.checkpoints import record_commit, record_tag
from tests.people import Organisation
from registry.models import AccessToken, Member, Repo
from django.contrib.auth.models import User
acme = Organisation.objects.create(name="acme")
first = record_commit("acme/odd", {"config.json": b"{}", "sub/dir/a%25b#c ü.txt": b"odd", "empty.txt": b"",
                                   "big.safetensors": bytes(range(256)) * 4096}, message="First")
record_tag(first, "v1.0")
record_commit("acme/odd", {"config.json": b'{"n": 2}', "sub/x.txt": b"x"}, branch="feat/x", message="Second")
record_commit("acme/secret", {"config.json": b"{}"}, private=True, organisation=acme)
record_commit("acme/gated", {"config.json": b"{}"})
Repo.objects.filter(repo_id="acme/gated").update(gated="auto")
record_commit("acme/GGUF", {"m-Q4_K_M.gguf": b"GGUF" * 5000, "m-Q8_0.gguf": b"GGUF" * 9000, "README.md": b"# m"})
alice = User.objects.create_user("alice")
Member.objects.create(organisation=acme, user=alice, role="owner")
print("\\nTOKEN", AccessToken.issue(alice, name="laptop")[1])
"""


@dataclass(frozen=True)
class Server:
    url: str
    token: str
    commit: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Deployment(tmp_path_factory.mktemp("clients")) as made:
        job = made.manage_json("mirror", f"dir:{SAMPLE}", "--as", "acme/tiny")
        token = made.manage("shell", "-c", FILL).stdout.rpartition("TOKEN ")[2].strip()
        yield Server(made.start_web(), token, job["result"]["commit"])


@pytest.fixture
def ask(server: Server, tmp_path: Path) -> Any:
    """Runs lines of Python with an official client and gives back what they assign to `found`."""

    def asked(code: str, *, token: str = "", **more: str) -> Any:
        lines = ["import json", textwrap.dedent(code), "print('FOUND', json.dumps(found))"]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            env=_environment(server, tmp_path, token) | more, capture_output=True, text=True, timeout=240, check=False,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("FOUND ")[2])

    return asked


def _environment(server: Server, folder: Path, token: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HOLDFAST_"))}
    return kept | {
        "HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip


# --- huggingface_hub ---------------------------------------------------------------------------------------


def test_snapshot_download_brings_every_byte(ask: Any, server: Server) -> None:
    found = ask("""
        from pathlib import Path
        from huggingface_hub import snapshot_download
        folder = snapshot_download("acme/tiny")
        found = {"folder": folder, "again": snapshot_download("acme/tiny", local_files_only=True)}
    """)
    folder = Path(found["folder"])
    assert folder.name == server.commit
    assert found["again"] == found["folder"]
    for path in SAMPLE.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    blobs = {path.name for path in (folder.parent.parent / "blobs").iterdir()}
    assert any(len(name) == 64 for name in blobs)  # the LFS files, named by sha256


def test_single_files_by_revision_and_subfolder(ask: Any) -> None:
    found = ask("""
        from pathlib import Path
        from huggingface_hub import hf_hub_download, file_exists
        def read(name, **how):
            return Path(hf_hub_download("acme/odd", name, **how)).read_text()
        found = {
            "main": read("config.json"), "branch": read("config.json", revision="feat/x"),
            "ref": read("config.json", revision="refs/heads/feat/x"), "tag": read("config.json", revision="v1.0"),
            "odd": read("a%25b#c ü.txt", subfolder="sub/dir"), "empty": read("empty.txt"),
            "exists": [file_exists("acme/odd", "sub/x.txt", revision="feat/x"), file_exists("acme/odd", "sub/x.txt")],
        }
    """)
    assert found == {
        "main": "{}", "branch": '{"n": 2}', "ref": '{"n": 2}', "tag": "{}", "odd": "odd", "empty": "",
        "exists": [True, False],
    }  # fmt: skip


def test_the_api_client_reads_everything_there_is_to_know(ask: Any, server: Server) -> None:
    found = ask("""
        from huggingface_hub import HfApi
        api = HfApi()
        info = api.model_info("acme/odd", files_metadata=True)
        big = {one.rfilename: one for one in info.siblings}["big.safetensors"]
        refs = api.list_repo_refs("acme/odd")
        entries = list(api.list_repo_tree("acme/odd", recursive=True, expand=True))
        found = {
            "sha": info.sha == api.model_info("acme/odd", revision="v1.0").sha,
            "lfs": [big.size, big.lfs.size, len(big.lfs.sha256)],
            "branches": sorted(one.name for one in refs.branches), "tags": [one.name for one in refs.tags],
            "tree": [entry.path for entry in entries], "last": entries[0].last_commit.title,
            "below": [e.path for e in api.list_repo_tree("acme/odd", "sub/dir", revision="main")],
            "commits": [one.title for one in api.list_repo_commits("acme/odd", revision="feat/x")],
            "paths": [one.path for one in api.get_paths_info("acme/odd", ["empty.txt", "sub", "none"], expand=True)],
            "files": api.list_repo_files("acme/odd", revision="feat/x"),
            "models": [one.id for one in api.list_models(search="odd")],
            "by_author": len(list(api.list_models(author="acme", limit=2))), "full": [len(m.siblings) for m in
                api.list_models(search="odd", full=True)],
            "revision_exists": [api.revision_exists("acme/odd", "v1.0"), api.revision_exists("acme/odd", "v2")],
            "repo_exists": [api.repo_exists("acme/odd"), api.repo_exists("acme/none"), api.repo_exists("gpt2")],
            "case": api.model_info("ACME/Odd").id,
        }
    """)
    assert found == {
        "sha": True, "lfs": [1 << 20, 1 << 20, 64], "branches": ["feat/x", "main"], "tags": ["v1.0"],
        "tree": ["big.safetensors", "config.json", "empty.txt", "sub", "sub/dir", "sub/dir/a%25b#c ü.txt"],
        "last": "First", "below": ["sub/dir/a%25b#c ü.txt"], "commits": ["Second", "First"],
        "paths": ["empty.txt", "sub"], "files": ["config.json", "sub/x.txt"], "models": ["acme/odd"], "by_author": 2,
        "full": [4], "revision_exists": [True, False], "repo_exists": [True, False, False], "case": "acme/odd",
    }  # fmt: skip


def test_every_failure_is_the_right_exception(ask: Any) -> None:
    found = ask("""
        from huggingface_hub import HfApi, hf_hub_download
        def name_of(call):
            try:
                call()
            except Exception as error:
                return type(error).__name__
        api, bad = HfApi(), HfApi(token="hf_" + "x" * 40)
        found = {
            "repo": name_of(lambda: api.model_info("acme/none")),
            "repo file": name_of(lambda: hf_hub_download("acme/none", "config.json")),
            "private": name_of(lambda: hf_hub_download("acme/secret", "config.json")),
            "legacy": name_of(lambda: hf_hub_download("gpt2", "config.json")),
            "dataset": name_of(lambda: api.dataset_info("acme/tiny")),
            "revision": name_of(lambda: api.model_info("acme/tiny", revision="none")),
            "revision file": name_of(lambda: hf_hub_download("acme/tiny", "config.json", revision="none")),
            "entry": name_of(lambda: hf_hub_download("acme/tiny", "none.txt")),
            "folder": name_of(lambda: list(api.list_repo_tree("acme/tiny", "none"))),
            "gated": name_of(lambda: hf_hub_download("acme/gated", "config.json")),
            "gated info": api.model_info("acme/gated").gated,
            "bad token": name_of(lambda: bad.model_info("acme/tiny")),
            "bad whoami": name_of(lambda: bad.whoami()),
            "auth check": name_of(lambda: api.auth_check("acme/gated")),
        }
    """)
    assert found == {
        "repo": "RepositoryNotFoundError", "repo file": "RepositoryNotFoundError",
        "private": "RepositoryNotFoundError", "legacy": "RepositoryNotFoundError",
        "dataset": "RepositoryNotFoundError", "revision": "RevisionNotFoundError",
        "revision file": "RevisionNotFoundError", "entry": "RemoteEntryNotFoundError",
        "folder": "RemoteEntryNotFoundError", "gated": "GatedRepoError", "gated info": "auto",
        "bad token": "HfHubHTTPError", "bad whoami": "HfHubHTTPError", "auth check": "GatedRepoError",
    }  # fmt: skip


def test_a_token_opens_what_is_private_or_gated(ask: Any, server: Server) -> None:
    found = ask("""
        from pathlib import Path
        from huggingface_hub import HfApi, hf_hub_download
        who = HfApi().whoami()
        found = {
            "name": who["name"], "orgs": [org["name"] for org in who["orgs"]],
            "token": who["auth"]["accessToken"]["displayName"],
            "private": Path(hf_hub_download("acme/secret", "config.json")).read_text(),
            "gated": Path(hf_hub_download("acme/gated", "config.json")).read_text(),
            "auth": HfApi().auth_check("acme/secret"),
        }
    """, token=server.token)  # fmt: skip
    assert found == {
        "name": "alice", "orgs": ["acme"], "token": "laptop", "private": "{}", "gated": "{}", "auth": None,
    }  # fmt: skip


def test_the_file_system_reads_ranges_and_globs(ask: Any) -> None:
    found = ask("""
        from huggingface_hub import HfFileSystem
        fs = HfFileSystem()
        with fs.open("acme/odd/big.safetensors", "rb", block_size=4096) as file:
            file.seek(1000)
            middle = file.read(6)
            file.seek(-3, 2)
            end = file.read()
        found = {
            "middle": list(middle), "end": list(end), "size": fs.info("acme/odd/big.safetensors")["size"],
            "glob": fs.glob("acme/odd/**/*.txt"), "branch": fs.ls("acme/odd@feat%2Fx", detail=False),
            "cat": fs.cat_file("acme/odd/big.safetensors", start=255, end=258).hex(),
            "exists": [fs.exists("acme/odd/sub"), fs.exists("acme/odd/none")],
            "odd": fs.cat_file("acme/odd/sub/dir/a%25b#c ü.txt").decode(),
        }
    """)
    assert found == {
        "middle": [(1000 + n) % 256 for n in range(6)], "end": [253, 254, 255], "size": 1 << 20,
        "glob": ["acme/odd/empty.txt", "acme/odd/sub/dir/a%25b#c ü.txt"],
        "branch": ["acme/odd@feat%2Fx/config.json", "acme/odd@feat%2Fx/sub"], "cat": "ff0001",
        "exists": [True, False], "odd": "odd",
    }  # fmt: skip


def test_safetensors_headers_are_read_by_range(ask: Any) -> None:
    found = ask("""
        from huggingface_hub import get_safetensors_metadata
        data = get_safetensors_metadata("acme/tiny")
        found = {"parameters": data.parameter_count, "sharded": data.sharded, "n": len(data.weight_map)}
    """)
    assert found["sharded"] is False
    assert found["n"] > 10
    assert set(found["parameters"]) == {"F32"}


def test_the_command_line_of_the_hub_works(server: Server, tmp_path: Path) -> None:
    hf = Path(sys.executable).parent / "hf"
    done = subprocess.run(
        [hf, "download", "acme/odd", "--revision", "feat/x", "--local-dir", tmp_path / "here"],
        env=_environment(server, tmp_path, ""), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "sub" / "x.txt").read_text() == "x"


# --- transformers ------------------------------------------------------------------------------------------


def test_transformers_loads_configuration_and_tokenizer(ask: Any) -> None:
    found = ask("""
        from transformers import AutoConfig, AutoTokenizer
        config = AutoConfig.from_pretrained("acme/tiny")
        tokenizer = AutoTokenizer.from_pretrained("acme/tiny")
        ids = tokenizer("And it came to pass")["input_ids"]
        found = {"type": config.model_type, "layers": config.num_hidden_layers, "ids": ids,
                 "back": tokenizer.decode(ids, skip_special_tokens=True)}
    """)
    ids = [1, 354, 333, 610, 285, 750]
    assert found == {"type": "llama", "layers": 3, "ids": ids, "back": "And it came to pass"}


@pytest.mark.torch
@pytest.mark.skipif(os.environ.get("TORCH") != "1", reason="needs torch: set TORCH=1")
def test_transformers_loads_the_model_and_continues_a_sentence(ask: Any) -> None:
    found = ask("""
        from transformers import AutoModelForCausalLM, AutoTokenizer
        model = AutoModelForCausalLM.from_pretrained("acme/tiny")
        tokenizer = AutoTokenizer.from_pretrained("acme/tiny")
        asked = tokenizer("And it came to pass", return_tensors="pt")
        said = model.generate(**asked, max_new_tokens=24, do_sample=False)
        found = tokenizer.decode(said[0], skip_special_tokens=True)
    """)
    assert found.startswith("And it came to pass, and said, What is the king, and took the king of Judah")


# --- llama.cpp ---------------------------------------------------------------------------------------------


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """One request as llama.cpp sends it."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "llama-cpp/b6900", **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_requests_of_llama_cpp_find_and_resume_a_file(server: Server) -> None:
    _, _, refs = get(f"{server.url}/api/models/acme/GGUF/refs", Accept="application/json")
    commit = next(one["targetCommit"] for one in json.loads(refs)["branches"] if one["name"] == "main")
    status, headers, tree = get(f"{server.url}/api/models/acme/GGUF/tree/{commit}?recursive=true")
    assert "Link" not in headers
    file = next(one for one in json.loads(tree) if one["path"].endswith("Q4_K_M.gguf"))
    url = f"{server.url}/acme/GGUF/resolve/{commit}/{file['path']}"
    status, headers, _ = get(url, "HEAD")
    assert status == 200
    assert headers["ETag"] == f'"{file["lfs"]["oid"]}"'
    assert (int(headers["Content-Length"]), headers["Accept-Ranges"]) == (20_000, "bytes")
    status, headers, rest = get(url, Range="bytes=5000-")
    assert (status, headers["Content-Range"]) == (206, "bytes 5000-19999/20000")
    assert rest == (b"GGUF" * 5000)[5000:]


def test_what_llama_cpp_shows_of_an_error_is_a_sentence(server: Server) -> None:
    status, _, body = get(f"{server.url}/api/models/acme/none/refs")
    assert status == 401
    assert "acme/none" in json.loads(body)["error"]


def test_nothing_of_xet_is_ever_said(server: Server) -> None:
    for path in (
        "api/models/acme/odd?blobs=true",
        "api/models/acme/odd/tree/main",
        "acme/odd/resolve/main/big.safetensors",
    ):
        _, headers, body = get(f"{server.url}/{path}")
        assert "xet" not in str(headers).lower()
        assert b"xet" not in body.lower()
