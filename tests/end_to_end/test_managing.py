"""huggingface_hub and `hf`, unmodified, make, move, hide and delete repos, branches and tags on a real server."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.deployment import Deployment

# What differs between databases is in tests/mirror; this is about what the clients send and understand.
pytestmark = pytest.mark.one_backend


# One process instead of three.
FILL = """
from django.core.management import call_command
call_command("token", "create", "alice", "--new-user", "--write")
call_command("token", "create", "bob", "--new-user", "--write")
call_command("organisation", "create", "acme", "--owner", "alice", stdout=open("/dev/null", "w"))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of a process that talks to the server as alice, who owns acme; OTHER is the token of bob, who is in nothing."""
    folder = tmp_path_factory.mktemp("managing")
    with Deployment(folder) as made:
        tokens = made.manage("shell", "--no-imports", "-c", FILL).stdout.split()
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HOLDFAST_"))
        }
        yield kept | {
            "HF_ENDPOINT": made.start_web(), "HF_HOME": str(folder / "hf"), "HF_TOKEN": tokens[0], "OTHER": tokens[1],
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip


@pytest.fixture
def ask(environment: dict[str, str], tmp_path: Path) -> Any:
    """Runs lines of Python with HfApi as `api` and gives back what they assign to `found`."""
    start = textwrap.dedent("""
        import json, os
        from huggingface_hub import HfApi, hf_hub_download
        api, other = HfApi(), HfApi(token=os.environ["OTHER"])
        def fails(call):
            try:
                call()
            except Exception as error:
                return f"{type(error).__name__}: {error}"
    """)

    def asked(code: str) -> Any:
        lines = [start, textwrap.dedent(code), "print('FOUND', json.dumps(found))"]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, text=True, timeout=240,
            check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("FOUND ")[2])

    return asked


def test_repos_are_created_hidden_moved_and_deleted(ask: Any, environment: dict[str, str]) -> None:
    found = ask("""
        from pathlib import Path
        url = api.create_repo("acme/one", private=True)
        found = {"url": str(url), "id": url.repo_id, "again": str(api.create_repo("acme/one", exist_ok=True)) == url,
                 "twice": fails(lambda: api.create_repo("acme/one"))[:40],
                 "hidden": [other.repo_exists("acme/one"), api.repo_exists("acme/one")]}
        api.update_repo_settings("acme/one", visibility="public", gated="manual")
        info = other.model_info("acme/one")
        found["settings"] = [info.private, info.gated, len(info.sha), [file.rfilename for file in info.siblings]]
        api.update_repo_settings("acme/one", gated=False)
        api.move_repo("acme/one", "alice/two")
        found["old"] = [api.model_info("acme/one").id, api.list_repo_refs("acme/one").branches[0].name]
        found["file"] = Path(hf_hub_download("acme/one", ".gitattributes")).read_text().splitlines()[0]
        api.create_branch("acme/one", branch="by-the-old-name")
        found["foreign"] = [fails(lambda: call())[:15] for call in (
            lambda: other.move_repo("alice/two", "bob/two"), lambda: other.delete_repo("alice/two"),
            lambda: other.create_repo("acme/x"), lambda: other.update_repo_settings("alice/two", private=True))]
        found["others"] = str(other.create_repo("alice/two", exist_ok=True))
        api.delete_repo("alice/two")
        found["gone"] = [api.repo_exists("alice/two"), api.repo_exists("acme/one")]
        found["missing"] = fails(lambda: api.delete_repo("alice/two"))[:23]
        api.delete_repo("alice/two", missing_ok=True)
        data = api.create_repo("own", repo_type="dataset")
        found["dataset"] = [data.repo_id, api.dataset_info("alice/own").id, api.repo_exists("alice/own")]
        found["space"] = fails(lambda: api.create_repo("app", repo_type="space", space_sdk="static"))[:15]
    """)
    endpoint = environment["HF_ENDPOINT"]
    assert found == {
        "url": f"{endpoint}/acme/one", "id": "acme/one", "again": True, "hidden": [False, True],
        "twice": "HfHubHTTPError: Client error '409 Confli", "settings": [False, "manual", 40, [".gitattributes"]],
        "old": ["alice/two", "main"], "file": "*.7z filter=lfs diff=lfs merge=lfs -text",
        "foreign": ["HfHubHTTPError:"] * 4, "others": f"{endpoint}/alice/two", "gone": [False, False],
        "missing": "RepositoryNotFoundError", "dataset": ["alice/own", "alice/own", False],
        "space": "BadRequestError",
    }  # fmt: skip


def test_branches_and_tags_come_and_go(ask: Any) -> None:
    found = ask("""
        repo = api.create_repo("acme/refs").repo_id
        api.create_branch(repo, branch="feat/x")
        api.create_branch(repo, branch="feat/x", exist_ok=True)
        api.create_tag(repo, tag="v1", tag_message="First", revision="feat/x")
        api.create_tag(repo, tag="v1", exist_ok=True)
        refs = api.list_repo_refs(repo, include_pull_requests=True)
        found = {
            "refs": [[ref.name for ref in refs.branches], [ref.name for ref in refs.tags], refs.pull_requests],
            "same": len({ref.target_commit for ref in refs.branches + refs.tags}),
            "exists": [api.revision_exists(repo, name) for name in ("feat/x", "v1", "refs/tags/v1", "none")],
            "errors": [fails(call).rpartition("\\n")[2][:40] for call in (
                lambda: api.create_branch(repo, branch="main"), lambda: api.delete_branch(repo, branch="main"),
                lambda: api.delete_branch(repo, branch="v1"), lambda: api.create_branch(repo, branch="refs/pr/1"))],
            "start": fails(lambda: api.create_branch(repo, branch="y", revision="none"))[:21],
            "foreign": fails(lambda: other.create_tag(repo, tag="v2"))[:14],
        }
        api.delete_branch(repo, branch="feat/x")
        api.delete_tag(repo, tag="v1")
        found["left"] = [ref.name for ref in api.list_repo_refs(repo).branches + api.list_repo_refs(repo).tags]
        found["tag"] = fails(lambda: api.delete_tag(repo, tag="v1"))[:21]
    """)
    assert found == {
        "refs": [["main", "feat/x"], ["v1"], []], "same": 1, "exists": [True, True, True, False],
        "errors": ["Reference refs/heads/main already exists", "Cannot delete refs/heads/main: it is wha",
                   "Invalid rev id: refs/heads/v1. acme/refs", "Invalid reference for a branch: 'refs/pr"],
        "start": "RevisionNotFoundError", "foreign": "HfHubHTTPError", "left": ["main"], "tag": "RevisionNotFoundError",
    }  # fmt: skip


def test_the_client_learns_who_is_who(ask: Any) -> None:
    found = ask("""
        api.create_repo("alice/private-thing", private=True)
        who = api.whoami()
        found = {
            "name": who["name"], "orgs": [(org["name"], org["roleInOrg"]) for org in who["orgs"]],
            "members": [user.username for user in api.list_organization_members("acme")],
            "user": api.get_user_overview("bob").username, "org": api.get_organization_overview("acme").num_users,
            "may": [api.auth_check("alice/private-thing"), api.auth_check("alice/private-thing", write=True)],
            "may not": fails(lambda: other.auth_check("alice/private-thing"))[:23],
            "only reads": fails(lambda: other.auth_check("alice/private-thing", write=True))[:23],
        }
    """)
    assert found == {
        "name": "alice", "orgs": [["acme", "admin"]], "members": ["alice"], "user": "bob", "org": 1,
        "may": [None, None], "may not": "RepositoryNotFoundError", "only reads": "RepositoryNotFoundError",
    }  # fmt: skip


def test_the_command_line_of_the_hub_manages_repos(environment: dict[str, str]) -> None:
    def hf(*arguments: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "hf", "repos", *arguments], env=environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "acme/by-hand" in hf("create", "acme/by-hand", "--exist-ok")
    hf("move", "acme/by-hand", "acme/by-now")
    hf("delete", "acme/by-hand", "--missing-ok", "--yes")
    hf("delete", "acme/by-now", "--yes")
