"""The client is a small distribution of its own: few dependencies, no Django, old Pythons, quick to start."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.client.running import COMMAND, ROOT, SOURCE, Home

CLIENT = ROOT / "client"
MODULES = sorted(SOURCE.rglob("*.py"))
ALLOWED = {"holdfast", "urllib3", "rich", "tomli", *sys.stdlib_module_names}


def metadata() -> dict[str, object]:
    found = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    assert isinstance(found, dict)
    return found


def test_there_are_three_dependencies_and_each_has_its_reason() -> None:
    names = [re.split(r"[<>=]", name)[0] for name in metadata()["dependencies"]]  # type: ignore[attr-defined]
    assert names == ["urllib3", "tomli", "rich"]
    page = (CLIENT / "pyproject.toml").read_text()
    reasons = re.findall(r'^    "(?:urllib3|tomli|rich)[^"]*",(.*)$', page, re.MULTILINE)
    assert len(reasons) == 3
    assert all(reason.strip().startswith("# ") for reason in reasons)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_reads_as_python_3_9_and_imports_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= ALLOWED
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert future or path.name in ("__init__.py", "__main__.py")


def test_functions_and_files_stay_small() -> None:
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 320, path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, (path.name, node.name)


def test_the_version_is_printed_before_one_can_blink(home: Home) -> None:
    assert re.fullmatch(r"holdfast \d+\.\d+\.\d+\n", home.ok("--version").stdout)
    assert home.cpu_seconds("--version") < 0.15


def test_neither_the_version_nor_a_list_imports_rich_or_the_network(home: Home) -> None:
    for arguments in (["--version"], ["list"]):
        done = subprocess.run(
            [COMMAND[0], "-X", "importtime", *COMMAND[1:], *arguments], env=home.environment(), capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        assert "rich" not in done.stderr
        assert "urllib3" not in done.stderr
        assert "tomllib" not in done.stderr


def test_a_pull_without_a_terminal_never_imports_rich(home: Home, model: str) -> None:
    done = subprocess.run(
        [COMMAND[0], "-X", "importtime", *COMMAND[1:], "pull", "org/model"], env=home.environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.search(r"\| +rich", done.stderr) is None


def run(*command: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def oldest_python() -> str:
    """Python 3.9 if this machine has it, for that is what the client promises; otherwise the one that runs this."""
    found = shutil.which("python3.9")
    works = (
        found is not None and run(found, "-c", "import venv, ensurepip", env=dict(os.environ)).returncode == 0
    )
    return found if found is not None and works else sys.executable


def test_it_installs_into_an_empty_environment_without_django(home: Home, model: str, tmp_path: Path) -> None:
    """The one test that asks a package registry, by pip's own configuration; where there is none it is skipped."""
    unbuilt = shutil.ignore_patterns("*.egg-info", "build", "__pycache__")
    shutil.copytree(CLIENT, tmp_path / "client", ignore=unbuilt)
    assert run(oldest_python(), "-m", "venv", str(tmp_path / "venv"), env=dict(os.environ)).returncode == 0
    python = tmp_path / "venv" / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    installed = run(*pip, "install", "-q", str(tmp_path / "client"), env=env)
    if "No matching distribution" in installed.stderr and not os.environ.get("CI"):
        pytest.skip("no package registry within reach")
    assert installed.returncode == 0, installed.stderr
    names = {
        line.split("==")[0].lower() for line in run(*pip, "list", "--format=freeze", env=env).stdout.split()
    }
    assert names - {"pip", "setuptools", "tomli"} == {
        "holdfast",
        "urllib3",
        "rich",
        "markdown-it-py",
        "mdurl",
        "pygments",
    }
    assert (tmp_path / "venv" / "share" / "man" / "man1" / "holdfast.1").is_file()
    script = python.with_name("holdfast")
    done = run(str(script), "pull", "org/model", env=home.environment() | {"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_dir()
