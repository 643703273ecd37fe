"""Patterns mean what git says they mean; git itself is the judge."""

import subprocess
import time
from pathlib import Path

import pytest

from mirror.uploads.patterns import MAX_RULES_BYTES, IgnorePatterns, LfsPatterns

pytestmark = pytest.mark.one_backend

PATHS = [
    "model.safetensors", "deep/model.safetensors", "README.md", "saved_model/variables/x", "saved_model/x",
    "a.tar.gz", "x/a.tar.gz", "logs/1.txt", "deep/logs/1.txt", "logs", "build/out.o", "keep/out.o", "out.o",
    "docs/api/index.html", "docs/index.html", "ab1.bin", "abc.bin", "a.lfs.b", "data/x/y/z.csv", "data/z.csv",
]  # fmt: skip
ATTRIBUTES = b"""# what is large
*.safetensors filter=lfs diff=lfs merge=lfs -text
saved_model/**/* filter=lfs
*.tar.* filter=lfs
/logs/*.txt filter=lfs
docs/index.html filter=lfs -text
ab[0-9].bin filter=lfs
data/**/z.csv filter=lfs
*.md text
deep/*.safetensors -filter
*.lfs.* filter=lfs
"""
IGNORED = b"""logs/
*.o
!keep/*.o
/docs/*
!/docs/index.html
data/**/z.csv
saved_model/**
# comment

ab?.bin
"""


@pytest.fixture
def work_tree(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitattributes").write_bytes(ATTRIBUTES)
    (tmp_path / ".gitignore").write_bytes(IGNORED)
    return tmp_path


def test_git_keeps_the_same_files_by_pointer(work_tree: Path) -> None:
    done = subprocess.run(["git", "check-attr", "filter", "--", *PATHS], cwd=work_tree, check=True, capture_output=True,
                          text=True)  # fmt: skip
    by_git = {line.split(":")[0] for line in done.stdout.splitlines() if line.endswith(": lfs")}
    patterns = LfsPatterns(ATTRIBUTES)
    assert {path for path in PATHS if patterns.matches(path)} == by_git


def test_git_ignores_the_same_files(work_tree: Path) -> None:
    done = subprocess.run(["git", "check-ignore", "--no-index", "--", *(path for path in PATHS if path != "logs")],
                          cwd=work_tree, check=True, capture_output=True, text=True)  # fmt: skip
    patterns = IgnorePatterns(IGNORED)
    assert {path for path in PATHS if patterns.matches(path)} == set(done.stdout.split())


def test_a_hostile_pattern_costs_no_more_than_any_other() -> None:
    began = time.process_time()
    assert not IgnorePatterns(b"*a" * 40 + b"*b\n" + b"**/*/" * 30 + b"c").matches("a" * 1000 + "/a" * 100)
    assert time.process_time() - began < 2


def test_rules_that_are_too_long_say_nothing() -> None:
    assert not IgnorePatterns(b"*\n" + b"#" * MAX_RULES_BYTES).matches("a")
