"""`holdfast self update` knows who installed it, and runs nothing unasked."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.client.running import SOURCE, Home


def installed(home: Home, installer: str, direct_url: object = None) -> Path:
    """Metadata as an installer leaves it, in a virtual environment of its own; returns its Python."""
    venv = home.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    info = site / "holdfast-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: holdfast\nVersion: 0.1.0\n")
    if installer:
        (info / "INSTALLER").write_text(f"{installer}\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))
    (site / "paths.pth").write_text(f"{SOURCE}\n{sysconfig.get_path('purelib')}\n")
    return venv / "bin" / "python"


def ask(home: Home, python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {
        name: value
        for name, value in home.environment().items()
        if name not in ("PYTHONPATH", "PYTHONWARNINGS")
    }
    return subprocess.run(
        [str(python), "-m", "holdfast", "self", "update", *arguments], env=env | {"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_each_installer_has_its_command(home: Home) -> None:
    python = installed(home, "pip")
    assert ask(home, python, "--dry-run").stdout == f"{python} -m pip install --upgrade holdfast\n"
    (home.folder / "venv" / "pipx_metadata.json").write_text("{}")
    assert ask(home, python, "--dry-run").stdout == "pipx upgrade holdfast\n"
    (home.folder / "venv" / "uv-receipt.toml").write_text("")
    assert ask(home, python, "--dry-run").stdout == "uv tool upgrade holdfast\n"


@pytest.mark.parametrize(
    ("direct_url", "target"),
    [
        ({"url": "file:///src/my%20client", "dir_info": {}}, "'/src/my client'"),
        ({"url": "https://x.example/h.git", "vcs_info": {"vcs": "git"}}, "git+https://x.example/h.git"),
    ],
)
def test_it_comes_from_the_same_place_as_before(home: Home, direct_url: object, target: str) -> None:
    python = installed(home, "uv", direct_url)
    assert ask(home, python, "--dry-run").stdout.endswith(f"--upgrade {target}\n")


def test_nothing_is_run_where_nobody_can_be_asked(home: Home) -> None:
    done = ask(home, installed(home, "pip"))
    assert done.returncode == 1
    assert "not updated" in done.stderr


def test_a_source_is_not_updated_by_an_installer(home: Home) -> None:
    done = ask(home, installed(home, "pip", {"url": "file:///src", "dir_info": {"editable": True}}))
    assert done.returncode == 2
    assert "editable" in done.stderr


def test_a_build_beside_the_source_is_no_installation(home: Home) -> None:
    done = ask(home, installed(home, ""))
    assert done.returncode == 2
    assert "runs from its source" in done.stderr
