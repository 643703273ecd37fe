"""What people do with git, done by git itself against a real service."""

import shutil
from dataclasses import replace

import pytest
import urllib3
from dulwich import porcelain
from dulwich.protocol import pkt_line
from dulwich.repo import Repo

from tests.mirror.git.conftest import Git, Service

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

SETUP = """
acme = Organisation.objects.create(name="acme")
alice = User.objects.create_user("alice")
Member.objects.create(organisation=acme, user=alice, role=Member.Role.OWNER)
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
record_commit("acme/tiny", {"late.txt": b"late"}, branch="late", is_complete=False)
record_commit("acme/late", {"late.txt": b"late"}, is_complete=False)
hidden = {"config.json": b"{}", "w.bin": b"weights", ".gitattributes": b"*.bin filter=lfs -text\\n"}
record_commit("acme/secret", hidden, private=True, organisation=acme)
record_commit("acme/words", {"train.jsonl": b"{}\\n"}, repo_type="dataset")
record_commit("acme/empty", {})
Repo.objects.create(repo_id="acme/fresh", namespace="acme", name="fresh")
record_commit("acme/rotten", {"good.txt": b"good", "rotten.txt": b"sound" * 9})
overwrite(blob_store(), blob_key(store_blob(b"sound" * 9).sha256), b"rotten" * 9)
foreign = record_commit("acme/foreign", {"a.txt": b"1"}, commit_hash="a" * 40, git_object=None, author="<Eve>\\n")
record_commit("acme/foreign", {"a.txt": b"2"}, commit_hash="b" * 40, git_object=None, message="Two\\n\\nBody.")
told = record_commit("acme/told", {"a.txt": b"1"})
assert mirror(url + "/acme/told", "copy/told") == told.commit_hash
found = {
    "first": first.commit_hash, "second": second.commit_hash, "side": side.commit_hash, "pull": pull.commit_hash,
    "told": told.commit_hash, "alice": AccessToken.issue(alice, name="test")[1],
    "charlie": AccessToken.issue(User.objects.create_user("charlie"), name="test")[1],
}
"""


@pytest.fixture(scope="module")
def ids(service: Service) -> dict[str, str]:
    """Commit hashes, and the tokens of Alice and Charlie."""
    found: dict[str, str] = service.run(SETUP)
    return found


@pytest.mark.parametrize("version", ["2", "0"])
def test_a_clone_has_the_ids_that_the_registry_shows(
    service: Service, ids: dict[str, str], git: Git, version: str
) -> None:
    suffix = ".git" if version == "2" else ""
    clone = git.clone(f"{service.url}/acme/tiny{suffix}", "-c", f"protocol.version={version}")
    assert git("log", "--format=%H", at=clone).split() == [ids["second"], ids["first"]]
    assert git("rev-parse", "v1.0", "origin/feat/x", at=clone).split() == [ids["first"], ids["side"]]
    assert git("branch", "-r", at=clone).split() == [
        "origin/HEAD",
        "->",
        "origin/main",
        "origin/feat/x",
        "origin/main",
    ]
    assert git("symbolic-ref", "HEAD", at=clone) == "refs/heads/main"
    assert git.is_sound(clone)
    files = git.files(clone)
    assert files["README.md"] == b"# Tiny, again\n"
    assert files["big.txt"] == bytes(range(256)) * 12000
    assert files["deep/naïve ü.txt"] == b"odd"
    assert files["model.safetensors"].startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:")


@pytest.mark.one_backend
def test_another_implementation_of_git_can_clone(service: Service, ids: dict[str, str], git: Git) -> None:
    porcelain.clone(
        f"{service.url}/acme/tiny", str(git.home / "here"), errstream=porcelain.NoneStream()
    ).close()
    with Repo(str(git.home / "here")) as clone:
        assert clone.head().decode() == ids["second"]


def test_a_fetch_brings_only_what_is_new(service: Service, ids: dict[str, str], git: Git) -> None:
    clone = git.clone(f"{service.url}/acme/tiny")
    third = service.run("""
files = {"README.md": b"third", "a/new.txt": b"new", "a/deep/file.json": b"{}"}
found = record_commit("acme/tiny", files, branch="third").commit_hash
""")
    for version in ("2", "0"):
        git("-c", f"protocol.version={version}", "fetch", at=clone)
        assert git("rev-parse", "origin/third", at=clone) == third
        assert git.n_loose(clone) == 3  # the commit, its root folder, README.md: the rest was there
        assert git.is_sound(clone)


@pytest.mark.one_backend
@pytest.mark.parametrize("version", ["2", "0"])
def test_a_shallow_clone_can_be_deepened_and_made_whole(
    service: Service, ids: dict[str, str], git: Git, version: str
) -> None:
    how = ("-c", f"protocol.version={version}")
    clone = git.clone(f"{service.url}/acme/tiny", *how, "--depth", "1")
    assert git("log", "--format=%H", at=clone) == ids["second"]
    assert git.is_sound(clone)
    git(*how, "fetch", at=clone)
    git(*how, "fetch", "--deepen", "1", at=clone)
    assert git("log", "--format=%H", at=clone).split() == [ids["second"], ids["first"]]
    assert git("rev-parse", "--is-shallow-repository", at=clone) == "false"
    git(*how, "fetch", "--depth", "1", "origin", "main", at=clone)
    assert git("rev-parse", "--is-shallow-repository", at=clone) == "true"
    git(*how, "fetch", "--unshallow", "origin", "main", at=clone)
    assert git("rev-parse", "--is-shallow-repository", at=clone) == "false"
    assert git.is_sound(clone)


@pytest.mark.one_backend
@pytest.mark.parametrize("cut", ["--shallow-since=2026-01-02T03:30:00Z", "--shallow-exclude=v1.0"])
def test_history_can_be_cut_by_date_and_by_ref(
    service: Service, ids: dict[str, str], git: Git, cut: str
) -> None:
    assert git("log", "--format=%H", at=git.clone(f"{service.url}/acme/tiny", cut)) == ids["second"]


@pytest.mark.one_backend
@pytest.mark.parametrize("leave_out", ["blob:none", "tree:0"])
def test_a_partial_clone_takes_files_when_they_are_needed(
    service: Service, ids: dict[str, str], git: Git, leave_out: str
) -> None:
    clone = git.clone(f"{service.url}/acme/tiny", f"--filter={leave_out}", "--no-checkout")
    kinds = git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)", at=clone).split()
    assert "blob" not in kinds
    assert ("tree" in kinds) == (leave_out == "blob:none")
    git("checkout", "main", at=clone)
    assert (clone / "README.md").read_bytes() == b"# Tiny, again\n"
    assert git("show", f"{ids['first']}:README.md", at=clone) == "# Tiny"


@pytest.mark.one_backend
def test_a_tag_and_a_pull_request_can_be_checked_out(service: Service, ids: dict[str, str], git: Git) -> None:
    clone = git.clone(f"{service.url}/acme/tiny", "--branch", "v1.0")
    assert git("rev-parse", "HEAD", at=clone) == ids["first"]
    git("fetch", "origin", "refs/pr/1", at=clone)
    assert git("rev-parse", "FETCH_HEAD", at=clone) == ids["pull"]


def test_only_what_is_held_completely_is_offered(service: Service, ids: dict[str, str], git: Git) -> None:
    lines = git("ls-remote", "--symref", f"{service.url}/acme/tiny").splitlines()
    assert lines[:2] == ["ref: refs/heads/main\tHEAD", f"{ids['second']}\tHEAD"]
    names = [line.split("\t")[1] for line in lines[2:]]
    assert {"refs/heads/feat/x", "refs/heads/main", "refs/pr/1", "refs/tags/v1.0"} <= set(names)
    assert "refs/heads/late" not in names
    for version in ("2", "0"):
        said = git.run("-c", f"protocol.version={version}", "clone", f"{service.url}/acme/late").stderr
        assert "remote error: not every file of acme/late is held here yet" in said


@pytest.mark.one_backend
@pytest.mark.parametrize("version", ["2", "0"])
def test_datasets_and_empty_repos_can_be_cloned(
    service: Service, ids: dict[str, str], git: Git, version: str
) -> None:
    how = ("-c", f"protocol.version={version}")
    assert git.files(git.clone(f"{service.url}/datasets/acme/words", *how)) == {"train.jsonl": b"{}\n"}
    empty = git.clone(f"{service.url}/acme/empty.git", *how)
    assert git("rev-parse", "HEAD^{tree}", at=empty) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    fresh = git.clone(f"{service.url}/acme/fresh", *how)
    assert git.files(fresh) == {}
    if version == "2":  # the older one cannot say what HEAD will be
        assert git("symbolic-ref", "HEAD", at=fresh) == "refs/heads/main"


def test_a_private_repo_is_cloned_with_a_token_and_hidden_without(
    service: Service, ids: dict[str, str], git: Git
) -> None:
    clone = git.clone(f"{service.with_token('alice', ids['alice'])}/acme/secret")
    assert git.files(clone)["config.json"] == b"{}"
    git.clone(f"{service.url}/acme/secret", "-c", f"http.extraHeader=Authorization: Bearer {ids['alice']}")
    charlie, wrong = service.with_token("charlie", ids["charlie"]), service.with_token("alice", "hf_wrong")
    stranger = git.run("clone", f"{service.url}/acme/secret").stderr
    assert "could not read Username" in stranger
    assert stranger.replace("secret", "nothing") == git.run("clone", f"{service.url}/acme/nothing").stderr
    assert "not found" in git.run("clone", f"{charlie}/acme/secret").stderr
    assert "Authentication failed" in git.run("clone", f"{wrong}/acme/secret").stderr


@pytest.mark.one_backend
def test_a_request_that_comes_in_chunks_is_read(service: Service, ids: dict[str, str]) -> None:
    """As git sends it when it is longer than http.postBuffer."""
    chunks = [pkt_line(b"command=ls-refs\n"), b"0001", pkt_line(b"ref-prefix refs/tags/\n"), b"0000"]
    answer = urllib3.request(
        "POST",
        f"{service.url}/acme/tiny/git-upload-pack",
        body=iter(chunks),
        headers={"Git-Protocol": "version=2"},
    )
    assert answer.data == pkt_line(f"{ids['first']} refs/tags/v1.0\n".encode()) + b"0000"


@pytest.mark.one_backend
def test_a_push_is_refused_with_a_sentence(service: Service, ids: dict[str, str], git: Git) -> None:
    clone = git.clone(f"{service.with_token('alice', ids['alice'])}/acme/tiny")
    done = git.run("push", "origin", "main:other", at=clone)
    assert done.returncode != 0
    assert "remote: Pushing over git is not offered here. Use `hf upload`" in done.stderr


def test_another_case_of_letters_leads_to_the_repo(service: Service, ids: dict[str, str], git: Git) -> None:
    assert git("rev-parse", "HEAD", at=git.clone(f"{service.url}/ACME/Tiny.git")) == ids["second"]


def test_damaged_bytes_end_a_clone_and_are_never_checked_out(
    service: Service, ids: dict[str, str], git: Git
) -> None:
    done = git.run("clone", f"{service.url}/acme/rotten")
    assert done.returncode != 0
    assert "is damaged; its operator runs `audit --repair`" in done.stderr
    assert not (git.home / "rotten").exists()


# --- files in LFS ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_files_in_lfs_come_with_the_clone_or_when_asked_for(
    service: Service, ids: dict[str, str], git: Git
) -> None:
    git("lfs", "install")
    pointers = git.clone(f"{service.url}/acme/tiny")
    assert git.files(pointers)["model.safetensors"].startswith(b"version https://git-lfs")
    git("lfs", "pull", at=pointers)
    eager = replace(git, with_lfs=True)
    for clone in (pointers, eager.clone(f"{service.url}/acme/tiny")):
        assert git.files(clone)["model.safetensors"] == bytes(range(256)) * 40
        assert git("lfs", "fsck", at=clone) == "Git LFS fsck OK"
        assert git("status", "--porcelain", at=clone) == ""
    private = eager.clone(f"{service.with_token('alice', ids['alice'])}/acme/secret")
    assert git.files(private)["w.bin"] == b"weights"


# --- mirrored commits --------------------------------------------------------------------------------------


def test_a_commit_that_only_upstream_knows_has_a_stand_in(
    service: Service, ids: dict[str, str], git: Git
) -> None:
    clone = git.clone(f"{service.url}/acme/foreign")
    assert git("log", "--format=%an: %B", at=clone).split("\n\n") == [
        "Alice: Two", "Body.", f"Upstream-Commit: {'b' * 40}", "Eve: Add files", f"Upstream-Commit: {'a' * 40}",
    ]  # fmt: skip
    assert git.is_sound(clone)
    again = git.clone(f"{service.url}/acme/foreign")
    assert git("rev-parse", "HEAD", at=again) == git("rev-parse", "HEAD", at=clone)


def test_a_mirror_has_upstreams_ids_and_says_where_its_history_has_a_gap(
    service: Service, ids: dict[str, str], git: Git
) -> None:
    before = git.clone(f"{service.url}/copy/told")
    assert git("rev-parse", "HEAD", at=before) == ids["told"]
    newest, second = service.run("""
second = record_commit("acme/told", {"a.txt": b"2"}).commit_hash
third = record_commit("acme/told", {"a.txt": b"3"}).commit_hash
assert mirror(url + "/acme/told", "copy/told") == third
assert Commit.objects.get(repo__repo_id="copy/told", commit_hash=third).parents == [second]
found = [third, second]
""")
    for version in ("2", "0"):
        clone = git.clone(f"{service.url}/copy/told", "-c", f"protocol.version={version}")
        assert git("log", "--format=%H", at=clone) == newest
        assert git("cat-file", "commit", "HEAD", at=clone).splitlines()[1] == f"parent {second}"
        assert (clone / ".git" / "shallow").read_text().split() == [newest]
        assert git.is_sound(clone)
    git("fetch", "--update-shallow", at=before)
    assert git("rev-parse", "origin/main", at=before) == newest
    assert git.is_sound(before)
