"""Every test process has a data folder, a database and a store of its own; nothing is shared with a running service."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

hypothesis_settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":  # The same examples every time; exploring is for those who watch.
    hypothesis_settings.load_profile("ci")

_data = tempfile.mkdtemp(prefix="holdfast-test-")
atexit.register(shutil.rmtree, _data, ignore_errors=True)
os.environ["HOLDFAST_DATA"] = _data
os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
os.environ.setdefault("HOLDFAST_LOG_LEVEL", "WARNING")
# Test clients share one address. The tests of the limits set their own.
os.environ["HOLDFAST_RATE_LIMITS"] = "api=0,resolvers=0,pages=0,sign_in=0,tokens=0"
os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
for name in ("HF_TOKEN", "HOLDFAST_TOKEN", "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE"):
    os.environ.pop(name, None)

import django  # noqa: E402  # the settings read the environment that was just made
from django.conf import settings  # noqa: E402

django.setup()
# With this in the environment, processes of xdist would read the settings before they have folders of their own.
del os.environ["DJANGO_SETTINGS_MODULE"]
# A password is hashed for every user of every test; as slowly as in production that is 0.4 s each.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
IS_SQLITE = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
if IS_SQLITE:
    # A file, not memory: heartbeats run in threads with connections of their own.
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"{_data}/test.sqlite3"


from django.db import connection  # noqa: E402

from tests.people import alice, bob, charlie, organisation  # noqa: E402, F401
from tests.services.databases import copy_template, empty_quickly, migrated_template  # noqa: E402
from tests.services.deployment import Deployment  # noqa: E402
from tests.services.postgres import database_of  # noqa: E402
from tests.services.stores import fresh_store_url  # noqa: E402

LONGEST_FIRST = (
    "conversion/test_validation.py", "end_to_end/test_broker.py", "mirror/test_kills.py", "end_to_end/test_journey.py",
    "client/test_interruptions.py", "end_to_end/test_pages.py", "conversion/test_kills.py",
    "client/test_against_server.py",
    "tests/test_benchmarks.py", "mirror/test_command.py", "inference/test_judge.py", "quants/test_golden.py",
    "through/test_trouble.py", "through/test_lookups.py", "mirror/test_sync.py",
    "naming/test_architectures.py", "conversion/test_reproduce.py", "formats/test_fuzz.py",
)  # fmt: skip
"""Files that take a minute or so: begun last, they would leave one process working alone."""

SOAK_TIMEOUT_SECONDS = 4 * 3600.0
"""What a test that soaks may take unless it says otherwise; the limit in pyproject.toml is for all others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first; all else stays in its order. Soaking takes longer than any other test may."""
    for item in items:
        if item.get_closest_marker("soak") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SOAK_TIMEOUT_SECONDS))

    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((at for at, name in enumerate(LONGEST_FIRST) if path.endswith(name)), len(LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """A copy of the template is there already, and goes with the folder of this process."""
    return IS_SQLITE


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """The database of this process begins as a copy of a migrated one, and is emptied quickly after each test."""
    if IS_SQLITE:
        copy_template(Path(connection.creation._get_test_db_name()))
    elif server := os.environ.get("HOLDFAST_TEST_DATABASE_URL"):
        template = database_of(migrated_template(server))
        settings.DATABASES["default"].setdefault("TEST", {})["TEMPLATE"] = template
    empty_quickly()


@pytest.fixture(autouse=True)
def _own_store(settings: object, tmp_path: Path) -> None:
    """Every test has an empty blob store: a directory, or a prefix of the S3 server when the run has one."""
    settings.HOLDFAST_BLOBS = fresh_store_url(tmp_path)  # type: ignore[attr-defined]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A whole service of its own: database, store, broker; processes are started by the test that needs them."""
    with Deployment(tmp_path / "deployment") as made:
        yield made
