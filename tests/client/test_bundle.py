"""Bundles: out of one cache, carried in a folder, into another without a network; and bundles that lie."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from holdfast.bundles.manifest import FORMAT, read_manifest, write_manifest
from holdfast.bundles.signatures import check_signature, sign
from holdfast.errors import BadAnswer, HoldfastError, SignatureInvalid, UnsafePath

from tests.client.conftest import CONFIG, LARGE, SMALL, noise
from tests.client.running import Home, kill, wait_until
from tests.client.server import HoldfastHub

NOTHING_MATCHED = 23
CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
FILES = {"README.md": CARD, "config.json": CONFIG, "model.safetensors": SMALL}


@pytest.fixture
def commit(hub: HoldfastHub) -> str:
    commit = hub.add("org/model", FILES)
    hub.tag("org/model", "v1", commit)
    return commit


@pytest.fixture
def island(tmp_path: Path) -> Home:
    """A second person, whose index does not exist."""
    folder = tmp_path / "island"
    folder.mkdir()
    return Home(folder, "http://127.0.0.1:9")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def blob(folder: Path, data: bytes) -> Path:
    sha256 = hashlib.sha256(data).hexdigest()
    return folder / "blobs" / "sha256" / sha256[:2] / sha256[2:4] / sha256


def manifest_of(folder: Path) -> Any:
    return json.loads((folder / "bundle.json").read_text())


def test_a_bundle_carries_a_model_with_its_refs_to_a_cache_without_a_network(
    home: Home, island: Home, bundle: Path, commit: str
) -> None:
    home.ok("pull", "org/model@v1")
    assert home.ok("bundle", "export", "org/model", "-d", str(bundle)).path == bundle
    assert blob(bundle, CONFIG).read_bytes() == CONFIG
    told = island.ok("bundle", "verify", str(bundle))
    assert "all good" in told.stderr
    assert told.stdout.splitlines()[1].split() == [
        "org/model", commit[:12], "main", "v1", "apache-2.0", "3", "300.1", "kB",
    ]  # fmt: skip
    path = island.ok("bundle", "import", str(bundle), "--offline").path
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    named = [f"org/model@{revision}" for revision in ("main", "v1", commit)]
    assert island.ok("pull", "--offline", *named).stdout == f"{path}\n" * 3
    assert "all good" in island.ok("check").stderr
    assert island.leftovers() == []


def test_the_same_content_is_the_same_bundle_to_the_byte(
    home: Home, island: Home, bundle: Path, tmp_path: Path, commit: str
) -> None:
    home.ok("bundle", "export", "org/model", "-d", str(bundle))
    island.ok("bundle", "import", str(bundle))
    again = tmp_path / "again"
    told = island.ok("bundle", "export", "--offline", "org/model", "-d", str(again), "--json").json
    assert (again / "bundle.json").read_bytes() == (bundle / "bundle.json").read_bytes()
    assert told["id"] == hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    assert str(tmp_path) not in (bundle / "bundle.json").read_text()


def test_a_bundle_serves_as_find_links_too(home: Home, island: Home, bundle: Path, commit: str) -> None:
    home.ok("bundle", "export", "org/model@v1", "-d", str(bundle))
    links = ("--no-index", "--find-links", str(bundle))
    path = island.ok("pull", "org/model@v1//model.safetensors", *links).path
    assert path.read_bytes() == SMALL
    assert path.parent.name == commit
    error = island.fails("not_found", "pull", "org/model@v2", *links, exit_code=NOTHING_MATCHED)
    assert "v1" in error["hint"]


def test_since_leaves_out_what_an_earlier_bundle_carries(
    home: Home, island: Home, hub: HoldfastHub, bundle: Path, commit: str
) -> None:
    home.ok("bundle", "export", "org/model", "-d", str(bundle))
    newer = hub.add("org/model", {**FILES, "model-2.safetensors": noise(1000, 9)})
    fork = hub.add("org/fork", {"renamed.safetensors": SMALL})  # equal bytes in another repo
    second = bundle.parent / "second"
    told = home.ok(
        "bundle", "export", "org/model", "org/fork", "-d", str(second), "--since", str(bundle), "--json"
    ).json
    assert (told["blobs"], told["size_bytes"]) == (1, 1000)
    assert told["left_out_bytes"] == len(SMALL) + len(CARD) + len(CONFIG)
    manifest = manifest_of(second)
    assert manifest["since"] == [hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()]
    states = {file["path"]: file["state"] for repo in manifest["repos"] for file in repo["files"]}
    assert states["model-2.safetensors"] == "here"
    assert states["renamed.safetensors"] == states["config.json"] == "earlier"
    error = island.fails("not_found", "bundle", "import", str(second), exit_code=NOTHING_MATCHED)
    assert error["since"] == manifest["since"]
    island.ok("bundle", "import", str(bundle), str(second))
    told = island.ok("pull", "--offline", "org/model", f"org/fork@{fork}").stdout.splitlines()
    assert Path(told[0]).name == newer
    assert (Path(told[1]) / "renamed.safetensors").read_bytes() == SMALL
    assert "all good" in island.ok("check").stderr


def test_only_what_is_asked_for_is_carried_and_the_rest_is_said_to_be_absent(
    home: Home, island: Home, hub: HoldfastHub, bundle: Path, commit: str
) -> None:
    home.ok("bundle", "export", "org/model", "-d", str(bundle), "--exclude", "*.safetensors")
    states = {file["path"]: file["state"] for file in manifest_of(bundle)["repos"][0]["files"]}
    assert states == {"README.md": "here", "config.json": "here", "model.safetensors": "absent"}
    assert not blob(bundle, SMALL).exists()
    island.ok("bundle", "import", str(bundle))
    error = island.fails("offline", "pull", "--offline", "org/model")
    assert error["missing"] == ["model.safetensors"]
    links = ("--no-index", "--find-links", str(bundle))
    island.fails("not_found", "pull", "org/model", *links, exit_code=NOTHING_MATCHED)
    path = island.ok("pull", "org/model", "--find-links", str(bundle), "-i", hub.url).path
    assert (path / "model.safetensors").read_bytes() == SMALL  # the index has the same commit and digest


def test_an_export_that_was_interrupted_goes_on_and_a_finished_one_is_not_overwritten(
    home: Home, bundle: Path, commit: str
) -> None:
    home.ok("bundle", "export", "org/model", "-d", str(bundle))
    (bundle / "bundle.json").unlink()
    blob(bundle, CONFIG).unlink()
    blob(bundle, SMALL).write_bytes(SMALL[:-1] + b"\0")  # and damaged meanwhile
    told = home.ok("bundle", "export", "org/model", "-d", str(bundle), "--json").json
    assert told["copied_bytes"] == len(SMALL) + len(CONFIG) + len(CARD)
    assert "all good" in home.ok("bundle", "verify", str(bundle)).stderr
    home.fails("file_exists", "bundle", "export", "org/model", "-d", str(bundle))
    home.ok("bundle", "export", "org/model", "-d", str(bundle), "--force")
    assert not list(bundle.rglob("*.incomplete"))


def test_a_killed_export_is_no_bundle_and_the_next_one_completes_it(
    home: Home, hub: HoldfastHub, bundle: Path
) -> None:
    hub.add("org/model", {"config.json": CONFIG, "model.safetensors": noise(40_000_000, 5)})
    process = home.start("bundle", "export", "org/model", "-d", str(bundle))
    wait_until(lambda: any(bundle.glob("*.incomplete")) or process.poll() is not None)
    kill(process)
    home.ok("bundle", "export", "--offline", "org/model", "-d", str(bundle), "--force")
    assert "all good" in home.ok("bundle", "verify", str(bundle)).stderr
    assert not list(bundle.rglob("*.incomplete"))


def test_what_is_damaged_in_the_cache_is_not_exported(home: Home, bundle: Path, commit: str) -> None:
    weights = home.ok("pull", "org/model").path / "model.safetensors"
    weights.resolve().write_bytes(b"\0" * len(SMALL))
    error = home.fails("hash_mismatch", "bundle", "export", "org/model", "-d", str(bundle))
    assert "check --repair" in error["hint"]
    assert not (bundle / "bundle.json").exists()
    assert not blob(bundle, SMALL).exists()
    assert not list(bundle.rglob("*.incomplete"))


def test_a_damaged_bundle_is_found_and_never_imported(
    home: Home, island: Home, bundle: Path, hub: HoldfastHub
) -> None:
    hub.add("org/model", {"config.json": CONFIG, "a.safetensors": SMALL, "b.safetensors": LARGE})
    home.ok("bundle", "export", "org/model", "-d", str(bundle))
    blob(bundle, LARGE).write_bytes(LARGE[:-1] + b"\0")
    blob(bundle, SMALL).write_bytes(SMALL[:-1])
    blob(bundle, CONFIG).unlink()
    told = island.run("bundle", "verify", str(bundle))
    assert told.code == 1
    assert [line.split()[-1] for line in told.stdout.splitlines() if line.startswith("BAD")][-1] == "missing"
    problems = island.run("bundle", "verify", str(bundle), "--json").json["verified"][0]["problems"]
    assert [(one["path"], one["problem"]) for one in problems] == [
        ("a.safetensors", "size"), ("b.safetensors", "sha256"), ("config.json", "missing"),
    ]  # fmt: skip
    assert island.run("bundle", "import", str(bundle)).code in (1, NOTHING_MATCHED)
    assert not list(island.cache.rglob("snapshots/*/*"))
    for name, content in island.blobs().items():
        assert hashlib.sha256(content).hexdigest() == name


def test_a_bundle_is_signed_and_checked_with_ssh_keys(
    home: Home, island: Home, bundle: Path, tmp_path: Path, commit: str
) -> None:
    for name in ("ada", "eve"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)]
        subprocess.run(make, check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ada@example.org {(tmp_path / 'ada.pub').read_text()}")
    home.ok("bundle", "export", "org/model", "-d", str(bundle), "--sign", str(tmp_path / "ada"))
    text = (bundle / "bundle.json").read_bytes()
    assert check_signature(text, bundle, allowed) == "ada@example.org"
    with pytest.raises(SignatureInvalid, match="is not what ada"):
        check_signature(text.replace(b"main", b"mine"), bundle, allowed)
    sign(bundle, tmp_path / "eve")
    with pytest.raises(SignatureInvalid, match="nobody"):
        check_signature(text, bundle, allowed)
    flags = ("--allowed-signers", str(allowed))
    island.fails("signature_invalid", "bundle", "import", str(bundle), *flags)
    (bundle / "bundle.json.sig").unlink()
    with pytest.raises(SignatureInvalid, match=r"has no bundle\.json\.sig"):
        check_signature(text, bundle, allowed)
    assert not island.cache.exists()
    sign(bundle, tmp_path / "ada")
    assert "signed by ada@example.org" in island.ok("bundle", "import", str(bundle), *flags).stderr


def honest() -> Any:
    """A manifest that nothing is wrong with, as its JSON."""
    return {
        "format": FORMAT, "since": [], "n_blobs": 1, "size_bytes": 5,
        "repos": [{
            "repo_id": "org/model", "commit": "a" * 40, "refs": ["main"], "license": None,
            "files": [{
                "path": "config.json", "size_bytes": 5, "sha256": "b" * 64, "git_oid": "c" * 40, "is_lfs": False,
                "state": "here",
            }],
        }],
    }  # fmt: skip


def change(where: str, value: Any) -> Callable[[Any], None]:
    """Sets one value: `repos.0.files.0.path`."""

    def apply(manifest: Any) -> None:
        *steps, last = where.split(".")
        for step in steps:
            manifest = manifest[int(step) if step.isdigit() else step]
        manifest[last] = value

    return apply


LIES: list[tuple[str, Any]] = [
    ("format", "holdfast-bundle-9"), ("since", ["x"]), ("since", None), ("n_blobs", 2), ("size_bytes", 6),
    ("repos", None), ("repos", [1]), ("repos", honest()["repos"] * 2), ("repos.0.repo_id", "../x"),
    ("repos.0.repo_id", "a/b/c"), ("repos.0.repo_id", 7), ("repos.0.commit", "A" * 40), ("repos.0.commit", "main"),
    ("repos.0.refs", ["../../x"]), ("repos.0.refs", ["a" * 40]), ("repos.0.refs", ["main", "main"]),
    ("repos.0.refs", [7]), ("repos.0.license", 7), ("repos.0.files", honest()["repos"][0]["files"] * 2),
    ("repos.0.files.0.path", "../x"), ("repos.0.files.0.path", "/etc/passwd"), ("repos.0.files.0.path", "x\x1b[2J"),
    ("repos.0.files.0.path", 7), ("repos.0.files.0.size_bytes", -1), ("repos.0.files.0.size_bytes", True),
    ("repos.0.files.0.size_bytes", 1 << 60), ("repos.0.files.0.size_bytes", 1e3),
    ("repos.0.files.0.sha256", "../../etc"), ("repos.0.files.0.sha256", None), ("repos.0.files.0.git_oid", None),
    ("repos.0.files.0.git_oid", 7), ("repos.0.files.0.is_lfs", 1), ("repos.0.files.0.state", "elsewhere"),
    ("repos.0.files.0.state", "earlier"), ("repos.0.files.0.state", []),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value"), LIES)
def test_a_manifest_that_lies_is_refused(where: str, value: Any) -> None:
    manifest = honest()
    assert read_manifest(json.dumps(manifest).encode(), where="test").repos[0].repo_id == "org/model"
    change(where, value)(manifest)
    with pytest.raises((BadAnswer, UnsafePath)):
        read_manifest(json.dumps(manifest).encode(), where="test")


def test_a_manifest_that_is_cut_anywhere_is_refused() -> None:
    text = write_manifest(read_manifest(json.dumps(honest()).encode(), where="test").repos, [])
    assert read_manifest(text, where="test").blobs("here") == {"b" * 64: 5}
    for end in range(len(text) - 2):
        with pytest.raises(HoldfastError):
            read_manifest(text[:end], where="test")


def test_a_lie_is_told_in_words_and_nothing_is_written(home: Home, bundle: Path, tmp_path: Path) -> None:
    bundle.mkdir()
    manifest = honest()
    change("repos.0.files.0.path", "../../../escaped\x1b[2J")(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    result = home.run("bundle", "import", str(bundle))
    assert result.code == 1
    assert "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("escaped*"))
    home.fails("not_found", "bundle", "verify", str(tmp_path / "nowhere"), exit_code=NOTHING_MATCHED)


def test_a_bundle_names_no_file_outside_itself(home: Home, bundle: Path, commit: str) -> None:
    """A blob that is a link to a secret is read, found to be something else, and not taken."""
    home.ok("bundle", "export", "org/model", "-d", str(bundle))
    blob(bundle, SMALL).unlink()
    blob(bundle, SMALL).symlink_to("/etc/passwd")
    shutil.rmtree(home.cache)
    home.fails("hash_mismatch", "bundle", "import", str(bundle))


def test_an_export_writes_nothing_outside_its_folder(
    home: Home, bundle: Path, tmp_path: Path, commit: str
) -> None:
    """The folder may be on a stranger's disk."""
    outside = tmp_path / "outside"
    outside.mkdir()
    bundle.mkdir()
    (bundle / "blobs").symlink_to(outside)
    home.fails("unsafe_path", "bundle", "export", "org/model", "-d", str(bundle))
    assert list(outside.iterdir()) == []
    assert not (bundle / "bundle.json").exists()
