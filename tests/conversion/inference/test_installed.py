"""Versions without importlib.metadata are those that importlib.metadata tells, and a child does without it."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from conversion.inference.engine import ENGINES
from conversion.inference.installed import folder_of, version_of

ROOT = Path(__file__).resolve().parents[3]
STARTS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from conversion.inference.engine import start_engine
start_engine(sys.argv[1], 1)
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize(
    "package", ["xllamacpp", "jinja2", "sentencepiece", "tokenizers", "Django", "typing_extensions"]
)
def test_a_version_is_the_one_that_importlib_tells(package):
    assert version_of(package) == importlib.metadata.version(package)


def test_what_is_not_installed_is_an_import_error():
    with pytest.raises(ImportError):
        version_of("no-such-package-at-all")
    assert folder_of("no_such_package_at_all") is None


def test_of_two_versions_in_one_place_importlib_decides(tmp_path):
    for name in ("xllamacpp-1.0.dist-info", "xllamacpp-2.0.dist-info", "another-3.dist-info"):
        (tmp_path / name).mkdir()
    assert version_of("xllamacpp", [str(tmp_path)]) == importlib.metadata.version("xllamacpp")
    assert version_of("another", [str(tmp_path)]) == "3"


def test_a_folder_is_found_without_importing_it():
    folder = folder_of("xllamacpp")
    assert folder is not None
    assert list(folder.glob("xllamacpp*.so"))


@pytest.mark.parametrize("engine", ["llama.cpp", "llama.cpp vocabulary", "jinja"])
def test_starting_an_engine_brings_nothing_that_it_does_not_need(engine):
    assert engine in ENGINES
    command = [sys.executable, "-I", "-B", "-c", STARTS, engine]
    modules = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert modules.isdisjoint({"importlib.metadata", "email", "zipfile", "numpy", "django", "urllib.request"})
