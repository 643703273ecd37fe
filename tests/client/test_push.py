"""`holdfast push`: a folder comes to a real server, hashed first, resumable, and is verified there."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.client.running import Home, kill, wait_until
from tests.services.deployment import Deployment

NOTHING_MATCHED = 23
PART = 5 << 20
USERS = """
from django.contrib.auth.models import User
User.objects.create_superuser('root')
User.objects.create_user('bob')
"""


class Server(NamedTuple):
    url: str
    token: str
    other_token: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Takes files of up to 100 kB inside a commit, and larger ones in parts of 5 MiB."""
    env = {"HOLDFAST_REGULAR_UPLOAD_BYTES": "100000", "HOLDFAST_UPLOAD_PART_BYTES": str(PART)}
    with Deployment(tmp_path_factory.mktemp("server"), **env) as deployment:
        deployment.manage("shell", "-c", USERS)

        def token(user: str) -> str:
            made = deployment.manage("token", "create", user, "--write", "--json").stdout
            return str(json.loads(made)["token"])

        yield Server(deployment.start_web(), token("root"), token("bob"))


@pytest.fixture
def home(server: Server, tmp_path: Path) -> Home:
    return Home(tmp_path, server.url, env={"HOLDFAST_TOKEN": server.token})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A README, a folder with a small file, weights above and below the size of a part, and what never goes."""
    made = tmp_path / "my model"
    (made / "sub").mkdir(parents=True)
    (made / ".git").mkdir()
    (made / ".git" / "config").write_text("no")
    (made / "README.md").write_text("# Mine\n")
    (made / "sub" / "vocab é.txt").write_bytes(b"")
    (made / "small.safetensors").write_bytes(random.Random(1).randbytes(300_000))
    (made / "large.safetensors").write_bytes(random.Random(2).randbytes(2 * PART + 17))
    return made


def states(result: dict[str, object]) -> dict[str, str]:
    files = result["files"]
    assert isinstance(files, list)
    return {file["path"]: file["state"] for file in files}


def test_a_folder_arrives_byte_for_byte_and_is_private(home: Home, server: Server, folder: Path) -> None:
    home.fails("not_found", "push", "root/mine", str(folder), exit_code=NOTHING_MATCHED)
    result = home.ok("push", "root/mine", str(folder), "--private", "-m", "First")
    assert "Made root/mine, private." in result.stderr
    assert "verified" in result.stderr
    path = home.ok("pull", result.stdout.strip()).path
    for file in folder.rglob("*"):
        if file.is_file() and ".git" not in file.parts:
            assert (path / file.relative_to(folder)).read_bytes() == file.read_bytes()
    assert not (path / ".git").exists()
    home.fails("not_found", "pull", "root/mine", exit_code=NOTHING_MATCHED, HOLDFAST_TOKEN="")


def test_a_second_push_sends_nothing_and_a_change_only_itself(home: Home, folder: Path) -> None:
    first = home.ok("push", "root/again", str(folder), "--create", "--json").json
    assert set(states(first).values()) <= {"sent", "known"}
    again = home.ok("push", "root/again", str(folder), "--json").json
    assert (again["commit"], again["sent_bytes"]) == (None, 0)
    (folder / "README.md").write_text("# Mine, better\n")
    changed = home.ok("push", "root/again", str(folder), "--json").json
    assert [path for path, state in states(changed).items() if state != "unchanged"] == ["README.md"]
    assert changed["commit"] != first["commit"]


def test_bytes_that_the_index_knows_are_not_sent(home: Home, folder: Path) -> None:
    home.ok("push", "root/one", str(folder), "--create")
    other = home.ok("push", "root/two", str(folder), "--create", "--json").json
    assert states(other)["large.safetensors"] == "known"
    assert other["sent_bytes"] == len("# Mine\n")


def test_a_dry_run_changes_nothing(home: Home, folder: Path) -> None:
    home.fails(
        "not_found", "push", "root/dry", str(folder), "--create", "--dry-run", exit_code=NOTHING_MATCHED
    )
    home.ok("push", "root/dry", str(folder), "--create", "--include", "README.md")
    told = home.ok("push", "root/dry", str(folder), "--dry-run", "--json").json
    assert (told["commit"], states(told)["small.safetensors"], states(told)["README.md"]) == (
        None, "sent", "unchanged",
    )  # fmt: skip
    assert sorted(path.name for path in home.ok("pull", "root/dry").path.iterdir() if path.is_file()) == [
        ".gitattributes", "README.md",
    ]  # fmt: skip


def test_a_file_goes_into_a_folder_of_the_repo(home: Home, folder: Path) -> None:
    home.ok("push", "root/deep//docs", str(folder / "README.md"), "--create")
    assert home.ok("pull", "root/deep//docs/README.md").path.read_text() == "# Mine\n"


def test_killed_in_the_middle_it_sends_the_other_parts_only(home: Home, folder: Path) -> None:
    (folder / "large.safetensors").write_bytes(random.Random(3).randbytes(6 * PART))
    home.ok("push", "root/killed", str(folder), "--create", "--include", "README.md")
    process = home.start("push", "root/killed", str(folder))
    notes = home.cache / ".holdfast" / "pushes"
    wait_until(lambda: any(notes.glob("*.json")) or process.poll() is not None)
    kill(process)
    kept = {name: json.loads(name.read_text())["parts"] for name in notes.glob("*.json")}
    result = home.ok("-v", "push", "root/killed", str(folder))
    n_sent = sum(line.startswith("PUT ") for line in result.stderr.splitlines())
    if kept:  # otherwise it was faster than the kill
        assert n_sent <= 6 + 1 - sum(map(len, kept.values()))
    assert list(notes.glob("*.json")) == []
    home.ok("pull", result.stdout.strip())


def test_who_may_not_write_is_told_so(home: Home, server: Server, folder: Path) -> None:
    home.ok("push", "root/closed", str(folder), "--create", "--include", "README.md")
    error = home.fails("auth", "push", "root/closed", str(folder), HOLDFAST_TOKEN=server.other_token)
    assert "may write" in error["hint"]
    home.fails("auth", "push", "root/closed", str(folder), HOLDFAST_TOKEN="")


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("root/x:Q8_0", "."), "usage", 2),
        ((f"root/x@{'a' * 40}", "."), "usage", 2),
        (("root/x@main", ".", "--revision", "dev"), "usage", 2),
        (("root/x", "nowhere"), "usage", 2),
        (("root/x", ".", "--offline"), "offline", 1),
        (("root/x", ".", "--include", "*.none"), "not_found", NOTHING_MATCHED),
    ],
)
def test_what_cannot_be_meant_is_refused(
    home: Home, arguments: tuple[str, ...], code: str, exit_code: int
) -> None:
    home.fails(code, "push", *arguments, exit_code=exit_code)


def test_names_that_others_could_not_write_are_not_sent(home: Home, folder: Path) -> None:
    (folder / "a\nb").write_text("x")
    home.fails("unsafe_path", "push", "root/names", str(folder), "--create")
    (folder / "a\nb").unlink()
    (folder / "Readme.md").write_text("x")
    home.fails("unsafe_path", "push", "root/names", str(folder), "--create")
