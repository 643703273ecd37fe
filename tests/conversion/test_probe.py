"""What `manage.py probe` adds to the probe: the files of this very service."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conversion.management.commands.probe import _files_of_the_service

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db
def test_the_probe_tries_the_store_the_data_and_the_settings_of_this_service(settings):
    settings.HOLDFAST_BLOBS = Path(settings.DATA, "a store").as_uri()
    Path(settings.DATA, "a store").mkdir(exist_ok=True)
    files = _files_of_the_service()
    assert files["the store"] == Path(settings.DATA, "a store")
    assert {"the folder of data", "our settings"} <= files.keys()
    assert ("the database" in files) == settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")


@pytest.mark.one_backend
@pytest.mark.soak
def test_the_command_says_the_same_as_json_and_exits_with_what_it_found():
    done = subprocess.run(
        [sys.executable, "manage.py", "probe", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert done.returncode == int(any(attempt["succeeded"] for attempt in found["attempts"]))
    assert {attempt["what"] for attempt in found["attempts"]} >= {"our settings", "a fork"}
