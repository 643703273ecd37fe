"""Every benchmark still runs and prints the ratio it claims; how large the ratio is, is never asserted."""

import os
import re
import subprocess
import sys

import pytest

from benchmarks.__main__ import names
from tests.services.databases import migrated_template
from tests.services.deployment import ROOT


@pytest.mark.parametrize("name", names())
def test_a_tiny_run_prints_a_ratio_against_a_named_peer(name: str) -> None:
    env = os.environ | {"HOLDFAST_TEST_TEMPLATE": migrated_template(None)}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--smoke"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ratio: \d+(\.\d+)? \(.+ against .+\)", done.stdout, re.MULTILINE), done.stdout
