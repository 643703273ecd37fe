"""What people do with git, done by git itself against a real service."""

import shutil
from pathlib import Path

import pytest

from tests.mirror.git.conftest import Git, Service

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

SETUP = """
FILES = {
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\\n", "README.md": b"# Tiny\\n",
    "a.b": b"before a", "a/deep/file.json": b"{}", "a0": b"after a", "deep/na\\u00efve \\u00fc.txt": b"odd",
    "empty.txt": b"", "model.safetensors": bytes(range(256)) * 40, "big.txt": bytes(range(256)) * 12000,
}
first = record_commit("acme/tiny", FILES)
record_tag(first, "v1.0")
more = FILES | {"README.md": b"# Tiny, again\\n", "a/new.txt": b"new"}
second = record_commit("acme/tiny", more, message="Say more\\n\\nBody.")
side = record_commit("acme/tiny", {"x.txt": b"x"}, branch="feat/x")
pull = record_commit("acme/tiny", {"p.txt": b"p"}, branch="pull")
Ref.objects.filter(repo=pull.repo, name="pull").update(kind=Ref.Kind.PULL_REQUEST, name="1")
record_commit("acme/secret", {"config.json": b"{}"}, private=True, organisation=acme)
record_commit("acme/words", {"train.jsonl": b"{}\\n"}, repo_type="dataset")
record_commit("acme/empty", {})
found = {"first": first.commit_hash, "second": second.commit_hash, "side": side.commit_hash, "pull": pull.commit_hash}
"""


@pytest.fixture(scope="module")
def ids(service: Service) -> dict[str, str]:
    found: dict[str, str] = service.run('acme = Organisation.objects.get(name="acme")\n' + SETUP)
    return found


def is_sound(git: Git, clone: Path) -> bool:
    """Whether git finds every object there, with the id that its bytes have."""
    return git.run("fsck", "--strict", "--full", at=clone).returncode == 0


@pytest.mark.parametrize("version", ["2", "0"])
@pytest.mark.parametrize("suffix", [".git", ""])
def test_a_clone_has_the_ids_that_the_registry_shows(
    service: Service, ids: dict[str, str], git: Git, version: str, suffix: str
) -> None:
    git("-c", f"protocol.version={version}", "clone", f"{service.url}/acme/tiny{suffix}", "here")
    clone = git.home / "here"
    assert git("log", "--format=%H", at=clone).split() == [ids["second"], ids["first"]]
    assert git("rev-parse", "v1.0", "origin/feat/x", at=clone).split() == [ids["first"], ids["side"]]
    assert git("symbolic-ref", "HEAD", at=clone) == "refs/heads/main"
    assert is_sound(git, clone)
    files = git.files(clone)
    assert files["README.md"] == b"# Tiny, again\n"
    assert files["big.txt"] == bytes(range(256)) * 12000
    assert files["deep/naïve ü.txt"] == b"odd"
    assert files["model.safetensors"].startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:")


def test_a_fetch_brings_only_what_is_new(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", f"{service.url}/acme/tiny", "here")
    clone = tmp_path / "here"
    third = service.run("""
files = {"README.md": b"third", "a/new.txt": b"new", "a/deep/file.json": b"{}"}
found = record_commit("acme/tiny", files, branch="third").commit_hash
""")
    git("fetch", at=clone)
    assert git("rev-parse", "origin/third", at=clone) == third
    packs = sorted((clone / ".git" / "objects").rglob("*"))
    loose = [path for path in packs if path.is_file() and path.parent.name not in ("pack", "info")]
    assert len(loose) == 3  # the commit, its root folder, README.md: the rest was there
    assert is_sound(git, clone)


def test_a_shallow_clone_can_be_deepened_and_made_whole(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    for version in ("2", "0"):
        name, clone = f"v{version}", tmp_path / f"v{version}"
        how = ("-c", f"protocol.version={version}")
        git(*how, "clone", "--depth", "1", f"{service.url}/acme/tiny", name)
        assert git("log", "--format=%H", at=clone) == ids["second"]
        assert is_sound(git, clone)
        git(*how, "fetch", at=clone)
        git(*how, "fetch", "--deepen", "1", at=clone)
        assert git("log", "--format=%H", at=clone).split() == [ids["second"], ids["first"]]
        assert git("rev-parse", "--is-shallow-repository", at=clone) == "false"
        git(*how, "fetch", "--depth", "1", "origin", "main", at=clone)
        assert git("rev-parse", "--is-shallow-repository", at=clone) == "true"
        git(*how, "fetch", "--unshallow", "origin", "main", at=clone)
        assert git("rev-parse", "--is-shallow-repository", at=clone) == "false"
        assert is_sound(git, clone)


def test_history_can_be_cut_by_date_and_by_ref(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", "--shallow-since=2026-01-02T03:30:00Z", f"{service.url}/acme/tiny", "dated")
    assert git("log", "--format=%H", at=tmp_path / "dated") == ids["second"]
    git("clone", "--shallow-exclude=v1.0", f"{service.url}/acme/tiny", "newer")
    assert git("log", "--format=%H", at=tmp_path / "newer") == ids["second"]


@pytest.mark.parametrize("leave_out", ["blob:none", "tree:0"])
def test_a_partial_clone_takes_files_when_they_are_needed(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path, leave_out: str
) -> None:
    git("clone", f"--filter={leave_out}", "--no-checkout", f"{service.url}/acme/tiny", "here")
    clone = tmp_path / "here"
    kinds = git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)", at=clone).split()
    assert "blob" not in kinds
    assert ("tree" in kinds) == (leave_out == "blob:none")
    git("checkout", "main", at=clone)
    assert (clone / "README.md").read_bytes() == b"# Tiny, again\n"
    assert git("show", f"{ids['first']}:README.md", at=clone) == "# Tiny"


def test_a_tag_and_a_pull_request_can_be_checked_out(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", "--branch", "v1.0", f"{service.url}/acme/tiny", "tagged")
    assert git("rev-parse", "HEAD", at=tmp_path / "tagged") == ids["first"]
    git("fetch", "origin", "refs/pr/1", at=tmp_path / "tagged")
    assert git("rev-parse", "FETCH_HEAD", at=tmp_path / "tagged") == ids["pull"]
    listed = dict(
        reversed(line.split("\t")) for line in git("ls-remote", f"{service.url}/acme/tiny").splitlines()
    )
    assert listed["HEAD"] == listed["refs/heads/main"] == ids["second"]
    assert listed["refs/pr/1"] == ids["pull"]


def test_a_dataset_and_an_empty_commit_can_be_cloned(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", f"{service.url}/datasets/acme/words", "words")
    assert git.files(tmp_path / "words") == {"train.jsonl": b"{}\n"}
    git("clone", f"{service.url}/acme/empty.git", "empty")
    assert (
        git("rev-parse", "HEAD^{tree}", at=tmp_path / "empty") == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    )


def test_a_repo_without_a_commit_is_an_empty_clone(service: Service, git: Git, tmp_path: Path) -> None:
    service.run('Repo.objects.create(repo_id="acme/fresh", namespace="acme", name="fresh")')
    for version in ("2", "0"):
        done = git.run(
            "-c", f"protocol.version={version}", "clone", f"{service.url}/acme/fresh", f"v{version}"
        )
        assert done.returncode == 0, done.stderr
        assert "empty repository" in done.stderr


def test_a_private_repo_is_cloned_with_a_token_and_hidden_without(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", f"{service.with_token('alice')}/acme/secret", "mine")
    assert git.files(tmp_path / "mine") == {"config.json": b"{}"}
    bearer = f"http.extraHeader=Authorization: Bearer {service.tokens['alice']}"
    git("-c", bearer, "clone", f"{service.url}/acme/secret", "again")
    said = {
        who: git.run("clone", f"{url}/acme/{name}").stderr
        for who, name, url in (
            ("stranger", "secret", service.url), ("stranger to nothing", "nothing", service.url),
            ("charlie", "secret", service.with_token("charlie")), ("wrong", "secret", service.with_token("wrong")),
        )
    }  # fmt: skip
    assert "could not read Username" in said["stranger"]
    assert said["stranger"].replace("secret", "nothing") == said["stranger to nothing"]
    assert "not found" in said["charlie"]
    assert "Authentication failed" in said["wrong"]


def test_a_push_is_refused_with_a_sentence(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", f"{service.with_token('alice')}/acme/tiny", "here")
    done = git.run("push", "origin", "main:other", at=tmp_path / "here")
    assert done.returncode != 0
    assert "remote: Pushing over git is not offered here. Use `hf upload`" in done.stderr


def test_another_case_of_letters_leads_to_the_repo(
    service: Service, ids: dict[str, str], git: Git, tmp_path: Path
) -> None:
    git("clone", f"{service.url}/ACME/Tiny.git", "here")
    assert git("rev-parse", "HEAD", at=tmp_path / "here") == ids["second"]
